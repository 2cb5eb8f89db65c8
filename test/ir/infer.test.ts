import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { isUnknown } from "../../src/ir/dim.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { typeText } from "../../src/ir/infer/merge.ts";
import { inferShapes, inputSymbols } from "../../src/ir/infer.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { f32Tensor, i64Tensor, inlineTensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";

/** Type of a value as text, unknowns as `?`. */
function text(model: Model, id: ValueId, options = {}): string {
  return typeText(inferShapes(model, options).type(id)).replaceAll(/\?[\d.x_:a-f]+/g, "?");
}

const scalar = (n: number) => i64Tensor([n], []);

describe("shape arithmetic in graphs", () => {
  it("follows the GroupNorm spelling of the TorchScript exporter", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", 320, "height", "width"]);
    const flat = b.node("Reshape", [x, b.constant(i64Tensor([0, 32, -1]))]);
    const norm = b.node("InstanceNormalization", [
      flat,
      b.constant(f32Tensor(new Float32Array(32))),
      b.constant(f32Tensor(new Float32Array(32))),
    ]);
    const back = b.node("Reshape", [norm, b.node("Shape", [x])]);
    b.output(back);
    const model = b.build();
    expect(text(model, flat)).toBe("f32[batch,32,10*height*width]");
    expect(text(model, back)).toBe("f32[batch,320,height,width]");
  });

  it("follows head splitting with Shape, Gather, Div and Concat", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", "tokens", 640]);
    const shape = b.node("Shape", [x]);
    const dim = (i: number): ValueId =>
      b.node("Unsqueeze", [b.node("Gather", [shape, b.constant(scalar(i))]), b.constant(i64Tensor([0]))]);
    const size = b.node("Div", [b.node("Gather", [shape, b.constant(scalar(2))]), b.constant(scalar(8))]);
    const target = b.node(
      "Concat",
      [dim(0), dim(1), b.constant(i64Tensor([8])), b.node("Unsqueeze", [size, b.constant(i64Tensor([0]))])],
      { axis: 0 },
    );
    const split = b.node("Transpose", [b.node("Reshape", [x, target])], { perm: [0, 2, 1, 3] });
    b.output(split);
    const model = b.build();
    expect(text(model, split)).toBe("f32[batch,8,tokens,80]");
    expect(inferShapes(model).data(target)).toEqual(["batch", "tokens", 8, 80]);
    expect(text(model, split, { bindings: { batch: 2, tokens: 77 } })).toBe("f32[2,8,77,80]");
  });

  it("follows upsampling sizes through float arithmetic", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", 4, "height", "width"]);
    const half = b.node("Slice", [
      b.node("Shape", [x]),
      b.constant(i64Tensor([2])),
      b.constant(i64Tensor([4])),
    ]);
    const wide = b.node("Mul", [b.node("Cast", [half], { to: 1 }), b.constant(f32Tensor([1.5]))]);
    const sizes = b.node("Cast", [b.node("Floor", [wide])], { to: 7 });
    const full = b.node("Concat", [b.constant(i64Tensor([1, 4])), sizes], { axis: 0 });
    const y = b.node("Resize", [x, null, null, full]);
    b.output(y);
    const model = b.build();
    expect(text(model, y)).toBe("f32[1,4,floor(height/2)+height,floor(width/2)+width]");
    expect(text(model, y, { bindings: { height: 5, width: 8 } })).toBe("f32[1,4,7,12]");
  });

  it("follows the Pad spelling of the TorchScript exporter", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [1, 4, "height", 8]);
    const zeros = b.node("ConstantOfShape", [b.constant(i64Tensor([4]))], { value: i64Tensor([0]) });
    const joined = b.node("Concat", [b.constant(i64Tensor([0, 1, 2, 3])), zeros], { axis: 0 });
    const rows = b.node("Reshape", [joined, b.constant(i64Tensor([-1, 2]))]);
    const ends = [
      b.constant(i64Tensor([-1])),
      b.constant(i64Tensor([-(2 ** 60)])),
      b.constant(i64Tensor([0])),
      b.constant(i64Tensor([-1])),
    ];
    const pads = b.node("Reshape", [
      b.node("Transpose", [b.node("Slice", [rows, ...ends])]),
      b.constant(i64Tensor([-1])),
    ]);
    const y = b.node("Pad", [x, pads]);
    b.output(y);
    const model = b.build();
    expect(inferShapes(model).data(pads)).toEqual([0, 0, 2, 0, 0, 0, 3, 1]);
    expect(text(model, y)).toBe("f32[1,4,height+5,9]");
  });

  it("takes a timestep that is expanded to the batch as one per sample", () => {
    const b = new ModelBuilder();
    const x = b.input("sample", "f32", ["batch", 4]);
    const t = b.input("timestep", "f32", ["steps"]);
    const batch = b.node("Slice", [
      b.node("Shape", [x]),
      b.constant(i64Tensor([0])),
      b.constant(i64Tensor([1])),
    ]);
    const times = b.node("Expand", [t, batch]);
    b.output(b.node("Add", [x, b.node("Unsqueeze", [times, b.constant(i64Tensor([1]))])]), "y");
    const model = b.build();
    expect(text(model, times)).toBe("f32[batch]");
    expect(text(model, model.graph.outputs[0]!)).toBe("f32[batch,4]");
    expect(text(model, times, { bindings: { steps: 1, batch: 3 } })).toBe("f32[3]");
  });

  it("follows the -1 of torch expand: Where(Equal(shape, -1), 1, shape)", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", 1]);
    const batch = b.node("Unsqueeze", [
      b.node("Gather", [b.node("Shape", [x]), b.constant(scalar(0))]),
      b.constant(i64Tensor([0])),
    ]);
    const target = b.node("Concat", [batch, b.constant(i64Tensor([-1]))], { axis: 0 });
    const ones = b.node("ConstantOfShape", [b.constant(i64Tensor([2]))], { value: i64Tensor([1]) });
    const isOpen = b.node("Equal", [target, b.node("Mul", [ones, b.constant(i64Tensor([-1], []))])]);
    const y = b.node("Expand", [x, b.node("Where", [isOpen, ones, target])]);
    b.output(y);
    expect(text(b.build(), y)).toBe("f32[batch,1]");
  });
});

describe("declared types", () => {
  function declared(shape: (string | number)[], dtype: "f32" | "i64" = "f32"): { model: Model; y: ValueId } {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", "n"]);
    const y = b.node("Reshape", [x, b.input("target", "i64", [2])]);
    b.declare(y, tensorType(dtype, shape)).output(y);
    return { model: b.build(), y };
  }
  it("fill what inference cannot know", () => {
    const { model, y } = declared([3, "batch"]);
    expect(text(model, y)).toBe("f32[3,batch]");
  });
  it("do not bring in names that no input has", () => {
    const { model, y } = declared([3, "Reshapeout_dim_1"]);
    expect(text(model, y)).toBe("f32[3,?]");
  });
  it("lose against operators, with a diagnostic", () => {
    for (const { model, y } of [declared([1, 2, 3]), declared([3, 4], "i64")]) {
      const result = inferShapes(model);
      expect(result.diagnostics.map((d) => d.code)).toEqual(["TYPE_CONFLICT"]);
      expect(result.shape(y)).toHaveLength(2);
      expect(result.dtype(y)).toBe("f32");
    }
  });
  it("stand for unknown operators and malformed nodes", () => {
    const b = new ModelBuilder({ domains: { custom: 1 } });
    const x = b.input("x", "f32", ["batch"]);
    const y = b.node("Mystery", [x], {}, { domain: "custom" });
    const bad = b.node("Transpose", [x], { perm: [3] });
    b.declare(y, tensorType("f16", ["batch", 2])).declare(bad, tensorType("f32", [7]));
    b.output(y).output(bad);
    const model = b.build();
    expect(text(model, y)).toBe("f16[batch,2]");
    expect(text(model, bad)).toBe("f32[7]");
    expect(inferShapes(model).diagnostics.map((d) => d.code)).toEqual(["SHAPE_INVALID"]);
  });
});

describe("inference", () => {
  it("takes given input types instead of the declared ones", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", 4]);
    const y = b.node("Transpose", [x]);
    b.output(y);
    const inputTypes = new Map([[x, tensorType("f16", [2, "n"])]]);
    expect(text(b.build(), y, { inputTypes })).toBe("f16[n,2]");
  });

  it("does not trust an initializer that is an input too", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [6]);
    const shape = b.inputOf("shape", tensorType("i64", [2]), i64Tensor([2, 3]));
    const y = b.node("Reshape", [x, shape]);
    b.output(y);
    expect(text(b.build(), y)).toBe("f32[?,?]");
  });

  it("reads initializers and Constant nodes as values", () => {
    const b = new ModelBuilder();
    const c = b.constant(i64Tensor([2, 3]));
    const n = b.node("Constant", [], { value: i64Tensor([4]) });
    b.output(b.node("Concat", [c, n], { axis: 0 }), "y");
    const model = b.build();
    const shapes = inferShapes(model);
    expect(shapes.data(c)).toEqual([2, 3]);
    expect(shapes.data(n)).toEqual([4]);
    expect(shapes.data(model.graph.outputs[0]!)).toEqual([2, 3, 4]);
    expect(shapes.staticShape(model.graph.outputs[0]!)).toEqual([3]);
  });

  it("infers functions by their bodies, with attributes of the call", () => {
    const b = new ModelBuilder({ domains: { local: 1 } });
    b.func(
      "local",
      "Flip",
      (f) => {
        const x = f.inputOf("a", null);
        f.output(f.node("Transpose", [x], { perm: { kind: "ref", name: "order", type: 7 } }));
      },
      { attributes: ["order"] },
    );
    const x = b.input("x", "f32", ["batch", 4, 5]);
    const y = b.node("Flip", [x], { order: [2, 0, 1] }, { domain: "local" });
    const z = b.node("Flip", [y], { order: [1, 2, 0] }, { domain: "local" });
    b.output(z);
    const model = b.build();
    expect(text(model, y)).toBe("f32[5,batch,4]");
    expect(text(model, z)).toBe("f32[batch,4,5]");
  });

  it("gives unknowns of two calls of a function different names", () => {
    const b = new ModelBuilder({ domains: { local: 1 } });
    b.func("local", "Find", (f) => f.output(f.node("NonZero", [f.inputOf("a", null)])));
    const x = b.input("x", "f32", [4]);
    const y = b.node("Find", [x], {}, { domain: "local" });
    const z = b.node("Find", [x], {}, { domain: "local" });
    b.output(y).output(z);
    const shapes = inferShapes(b.build());
    expect(isUnknown(shapes.shape(y)![1]!)).toBe(true);
    expect(shapes.shape(y)).not.toEqual(shapes.shape(z));
  });

  it("stops at functions that call themselves", () => {
    const b = new ModelBuilder({ domains: { local: 1 } });
    b.func("local", "Twice", (f) => {
      const x = f.inputOf("a", null);
      const y = f.node("Twice", [x], {}, { domain: "local" });
      f.output(f.node("Add", [y, f.node("Twice", [x], {}, { domain: "local" })]));
    });
    const y = b.node("Twice", [b.input("x", "f32", [4])], {}, { domain: "local" });
    b.output(y);
    const result = inferShapes(b.build());
    expect(result.diagnostics.map((d) => d.code)).toContain("INFERENCE_LIMIT");
  });

  it("goes into branches, which see values around them", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["batch", 4]);
    const flag = b.input("flag", "bool", []);
    const branch = (name: string) =>
      b.subgraph(name, (g) => g.output(g.node("Transpose", [x], {}, { name })));
    const y = b.node("If", [flag], { then_branch: branch("t"), else_branch: branch("e") });
    b.output(y);
    expect(text(b.build(), y)).toBe("f32[4,batch]");
  });

  it("does not take absurd lengths for ranks", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [2]);
    const long = b.input("long", "i64", [2 ** 31]);
    for (const op of ["Reshape", "Expand", "Tile", "Unsqueeze"]) b.output(b.node(op, [x, long]));
    b.output(b.node("Slice", [x, long, long])).output(b.node("ConstantOfShape", [long]));
    const model = b.build();
    const ranks = model.graph.outputs.map((o) => inferShapes(model).shape(o)?.length ?? null);
    expect(ranks).toEqual([null, null, 1, null, 1, null]);
  });

  it("names the symbols a user can bind", () => {
    const b = new ModelBuilder();
    b.input("x", "f32", ["batch", "2*height", "?1"]);
    b.output(b.node("Identity", [b.input("y", "bool", ["batch", "batch size"])]));
    expect(inputSymbols(b.build().graph)).toEqual(["batch", "batch size", "height"]);
  });

  it("leaves large and sub-byte constants alone", () => {
    const b = new ModelBuilder();
    const big = b.constant(i64Tensor(new Array<number>(2000).fill(1)));
    const nibble = b.constant(inlineTensor("i4", [2], Uint8Array.of(0x21)));
    b.output(b.node("Identity", [big])).output(b.node("Identity", [nibble]));
    const shapes = inferShapes(b.build());
    expect(shapes.data(big)).toBeNull();
    expect(shapes.data(nibble)).toBeNull();
    expect(shapes.staticShape(nibble)).toEqual([2]);
  });
});

describe("the bundled UNet", () => {
  it("has no unknown dim, and its declared output fits", async () => {
    const model = await readModel("fixtures/cifar-unet/unet/model.onnx");
    const shapes = inferShapes(model);
    expect(shapes.diagnostics).toEqual([]);
    const open = [...model.graph.nodes()].filter((n) =>
      n.outputs.some((o) => o !== null && (shapes.shape(o)?.some(isUnknown) ?? true)),
    );
    expect(open.map((n) => n.name)).toEqual([]);
    const [out] = model.graph.outputs;
    const bound = inferShapes(model, {
      bindings: Object.fromEntries(inputSymbols(model.graph).map((s) => [s, 32])),
    });
    expect(bound.staticShape(out!)?.slice(1)).toEqual([3, 32, 32]);
  });
});
