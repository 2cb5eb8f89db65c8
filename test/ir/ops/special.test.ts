import { describe, expect, it } from "vitest";
import { type AttrInput, ModelBuilder } from "../../../src/ir/build.ts";
import type { DType } from "../../../src/ir/dtype.ts";
import type { ValueId } from "../../../src/ir/graph.ts";
import { typeText } from "../../../src/ir/infer/merge.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { OPS, opSpec } from "../../../src/ir/ops/index.ts";
import { i64Tensor } from "../../../src/ir/tensor.ts";
import { type Case, infer, types } from "./rule.ts";

const size = (n: number) => i64Tensor([n], []);

describe("recurrent layers", () => {
  const x = "f32[seq,b,5]";
  it.each<[Case, string[]]>([
    [
      { op: "LSTM", inputs: [x, "f32[1,12,5]", "f32[1,12,3]"], outputs: 3, attrs: { hidden_size: 3 } },
      ["f32[seq,1,b,3]", "f32[1,b,3]", "f32[1,b,3]"],
    ],
    [
      {
        op: "GRU",
        inputs: [x, "f32[2,9,5]", "f32[2,9,3]"],
        outputs: 2,
        attrs: { direction: "bidirectional" },
      },
      ["f32[seq,2,b,3]", "f32[2,b,3]"],
    ],
    [
      { op: "RNN", inputs: ["f32[b,seq,5]", "f32[1,3,5]", "f32[1,3,3]"], outputs: 2, attrs: { layout: 1 } },
      ["f32[b,seq,1,3]", "f32[b,1,3]"],
    ],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });
});

describe("random numbers", () => {
  it("take their type from the attribute, else from the input", () => {
    expect(types({ op: "RandomNormal", inputs: [], attrs: { shape: [2, 3], dtype: 10 } })).toEqual([
      "f16[2,3]",
    ]);
    expect(types({ op: "RandomUniformLike", inputs: ["f64[n]"] })).toEqual(["f64[n]"]);
    expect(types({ op: "Bernoulli", inputs: ["f32[n]"], attrs: { dtype: 9 } })).toEqual(["bool[n]"]);
    expect(types({ op: "Multinomial", inputs: ["f32[n,4]"], attrs: { sample_size: 7 } })).toEqual([
      "i32[n,7]",
    ]);
    expect(infer({ op: "RandomNormal", inputs: [], attrs: { shape: [1], dtype: 99 } }).problems).toEqual([
      "SHAPE_INVALID",
    ]);
  });

  it("are never folded", () => {
    for (const op of [
      "RandomNormal",
      "RandomUniform",
      "RandomNormalLike",
      "RandomUniformLike",
      "Bernoulli",
      "Multinomial",
    ])
      expect(opSpec("", op)?.traits).toContain("nondeterministic");
  });
});

describe("signals", () => {
  it.each<[Case, string]>([
    [{ op: "DFT", opset: 17, inputs: ["f32[b,16,1]"], attrs: { axis: 1 } }, "f32[b,16,2]"],
    [
      { op: "DFT", opset: 17, inputs: ["f32[b,16,1]", size(10)], attrs: { axis: 1, onesided: 1 } },
      "f32[b,6,2]",
    ],
    [{ op: "DFT", opset: 20, inputs: ["f32[b,16,9,1]", null, size(1)] }, "f32[b,16,9,2]"],
    [{ op: "DFT", opset: 20, inputs: ["f32[b,16,1]"], attrs: { onesided: 1 } }, "f32[b,9,2]"],
    [{ op: "DFT", opset: 20, inputs: ["f32[b,16,1]", null, "i64[]"] }, "f32[?,?,2]"],
    [{ op: "STFT", inputs: ["f32[b,128,1]", size(8), "f32[16]"] }, "f32[b,15,9,2]"],
    [
      { op: "STFT", inputs: ["f32[b,128,1]", size(8), null, size(16)], attrs: { onesided: 0 } },
      "f32[b,15,16,2]",
    ],
    [{ op: "HannWindow", inputs: [size(10)] }, "f32[10]"],
    [
      {
        op: "MelWeightMatrix",
        inputs: [size(8), size(16), size(8192), "f32[]", "f32[]"],
        attrs: { output_datatype: 11 },
      },
      "f64[9,8]",
    ],
  ])("%j gives %s", (c, want) => {
    expect(types(c)[0]).toBe(want);
  });
  it("refuse an axis that holds real and imaginary parts", () => {
    expect(infer({ op: "DFT", opset: 17, inputs: ["f32[4,1]"], attrs: { axis: 1 } }).problems).toEqual([
      "SHAPE_INVALID",
    ]);
  });
});

describe("images", () => {
  it.each<[Case, string]>([
    [
      {
        op: "RoiAlign",
        inputs: ["f32[n,8,h,w]", "f32[r,4]", "i64[r]"],
        attrs: { output_height: 5, output_width: 7 },
      },
      "f32[r,8,5,7]",
    ],
    [{ op: "GridSample", inputs: ["f32[n,8,h,w]", "f32[n,5,7,2]"] }, "f32[n,8,5,7]"],
    [{ op: "GridSample", opset: 20, inputs: ["f32[n,8,d,h,w]", "f32[n,4,5,7,3]"] }, "f32[n,8,4,5,7]"],
    [{ op: "AffineGrid", inputs: ["f32[2,2,3]", [2, 3, 5, 7]] }, "f32[2,5,7,2]"],
    [{ op: "AffineGrid", inputs: ["f32[b,3,4]", "i64[5]"] }, "f32[b,?,?,?,3]"],
    [{ op: "NonMaxSuppression", inputs: ["f32[1,6,4]", "f32[1,1,6]"] }, "i64[?,3]"],
    [{ op: "Col2Im", inputs: ["f32[n,45,16]", [4, 4], [3, 3]] }, "f32[n,5,4,4]"],
    [{ op: "ImageDecoder", inputs: ["u8[n]"], attrs: { pixel_format: "Grayscale" } }, "u8[?,?,1]"],
  ])("%j gives %s", (c, want) => {
    expect(types(c)[0]).toBe(want);
  });
  it("refuse a grid of another rank", () => {
    expect(infer({ op: "GridSample", inputs: ["f32[1,1,4,4]", "f32[1,4,2]"] }).problems).toEqual([
      "SHAPE_INVALID",
    ]);
  });
});

describe("text and losses", () => {
  it.each<[Case, string[]]>([
    [{ op: "StringNormalizer", inputs: ["string[1,3]"] }, ["string[1,3]"]],
    [{ op: "StringNormalizer", inputs: ["string[1,3]"], attrs: { stopwords: ["a"] } }, ["string[1,?]"]],
    [{ op: "StringConcat", inputs: ["string[2,1]", "string[3]"] }, ["string[2,3]"]],
    [{ op: "StringSplit", inputs: ["string[n]"], outputs: 2 }, ["string[n,?]", "i64[n]"]],
    [{ op: "RegexFullMatch", inputs: ["string[n,2]"] }, ["bool[n,2]"]],
    [{ op: "TfIdfVectorizer", inputs: ["i32[n,12]"], attrs: { ngram_indexes: [0, 4, 2] } }, ["f32[n,5]"]],
    [
      {
        op: "SoftmaxCrossEntropyLoss",
        inputs: ["f32[3,5,h]", "i64[3,h]"],
        outputs: 2,
        attrs: { reduction: "none" },
      },
      ["f32[3,h]", "f32[3,5,h]"],
    ],
    [{ op: "NegativeLogLikelihoodLoss", inputs: ["f32[3,5]", "i64[3]"] }, ["f32[]"]],
  ])("%j gives %j", (c, want) => {
    expect(types(c)).toEqual(want);
  });
});

/** Output types of one node of another domain at a given version. */
function foreign(
  domain: string,
  version: number,
  op: string,
  inputs: readonly (readonly [DType, (number | string)[]])[],
  attrs: Record<string, AttrInput>,
  outputs = 1,
): string[] {
  const b = new ModelBuilder({ domains: { [domain]: version } });
  const ids = b.multi(
    op,
    inputs.map(([dtype, dims], i) => b.input(`x${i}`, dtype, dims)),
    outputs,
    attrs,
    { domain },
  ) as ValueId[];
  for (const id of ids) b.output(id);
  const shapes = inferShapes(b.build());
  expect(shapes.diagnostics).toEqual([]);
  return ids.map((id) => typeText(shapes.type(id)).replaceAll(/\?[\w.:]+/g, "?"));
}

describe("other domains", () => {
  const ml = "ai.onnx.ml";
  it("classify, encode and scale", () => {
    const labels = { classlabels_strings: ["a", "b", "c"] };
    expect(foreign(ml, 1, "LinearClassifier", [["f32", ["n", 4]]], labels, 2)).toEqual([
      "string[n]",
      "f32[n,3]",
    ]);
    const ints = { classlabels_int64s: [1, 2] };
    expect(foreign(ml, 3, "TreeEnsembleClassifier", [["f32", ["n", 4]]], ints, 2)).toEqual([
      "i64[n]",
      "f32[n,2]",
    ]);
    expect(foreign(ml, 1, "LinearRegressor", [["f32", ["n", 4]]], { targets: 2 })).toEqual(["f32[n,2]"]);
    expect(foreign(ml, 2, "LabelEncoder", [["string", ["n"]]], { values_int64s: [1, 2] })).toEqual([
      "i64[n]",
    ]);
    expect(foreign(ml, 1, "LabelEncoder", [["string", ["n"]]], {})).toEqual(["i64[n]"]);
    expect(foreign(ml, 1, "OneHotEncoder", [["i64", ["n"]]], { cats_int64s: [1, 2, 3] })).toEqual([
      "f32[n,3]",
    ]);
    expect(foreign(ml, 1, "Scaler", [["i64", ["n", 2]]], {})).toEqual(["f32[n,2]"]);
    expect(
      foreign(
        ml,
        1,
        "ArrayFeatureExtractor",
        [
          ["f64", ["n", 9]],
          ["i64", [1, 4]],
        ],
        {},
      ),
    ).toEqual(["f64[n,4]"]);
  });

  it("train: every optimiser gives back its lists but the gradients", () => {
    const t = "ai.onnx.preview.training";
    const scalar: readonly [DType, (number | string)[]] = ["f32", []];
    const step: readonly [DType, (number | string)[]] = ["i64", []];
    const x: readonly [DType, (number | string)[]] = ["f32", [2]];
    const y: readonly [DType, (number | string)[]] = ["f32", [3, 4]];
    expect(foreign(t, 1, "Adagrad", [scalar, step, x, y, x, y, x, y], {}, 4)).toEqual([
      "f32[2]",
      "f32[3,4]",
      "f32[2]",
      "f32[3,4]",
    ]);
    expect(foreign(t, 1, "Adam", [scalar, step, y, y, y, y], {}, 3)).toEqual([
      "f32[3,4]",
      "f32[3,4]",
      "f32[3,4]",
    ]);
    expect(foreign(t, 1, "Momentum", [scalar, step, x, x, x], {}, 2)).toEqual(["f32[2]", "f32[2]"]);
    expect(foreign(t, 1, "Gradient", [x, y], {}, 2)).toEqual(["f32[2]", "f32[3,4]"]);
  });

  it("are registered once, with ascending versions and sound bounds", () => {
    for (const spec of OPS) {
      expect(spec.versions.length, spec.op).toBeGreaterThan(0);
      expect(
        [...spec.versions].sort((a, b) => a - b),
        spec.op,
      ).toEqual(spec.versions);
      expect(spec.inputs.min, spec.op).toBeLessThanOrEqual(spec.inputs.max);
      expect(spec.outputs.min, spec.op).toBeLessThanOrEqual(spec.outputs.max);
    }
  });
});
