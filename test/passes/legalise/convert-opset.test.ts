import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { type Attr, floatAttr, type Model, subgraphs, type ValueId } from "../../../src/ir/graph.ts";
import { OPS } from "../../../src/ir/ops/index.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { convertOpset, stampedIrVersion } from "../../../src/passes/legalise/convert-opset.ts";
import { stepTo } from "../../../src/passes/legalise/opset/table.ts";
import { target } from "../../../src/targets/index.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";

/** Float32 rounding of a handful of operations on numbers of magnitude 1. */
const EXACT = 1e-6;

interface Case {
  readonly name: string;
  readonly from: number;
  readonly dims: readonly number[];
  make(b: ModelBuilder, x: ValueId): ValueId;
  /** Operators expected afterwards. */
  readonly after?: readonly string[];
}

const floatsAttr = (value: readonly number[]): Attr => ({ kind: "floats", value });

/** Operators whose definition changed, in an old spelling that onnxruntime still runs. */
const CASES: readonly Case[] = [
  {
    name: "Squeeze and Unsqueeze axes",
    from: 11,
    dims: [2, 3],
    make: (b, x) => b.node("Squeeze", [b.node("Unsqueeze", [x], { axes: [0, 3] })], { axes: [0] }),
  },
  {
    name: "ReduceSum axes",
    from: 11,
    dims: [2, 3, 4],
    make: (b, x) => b.node("ReduceSum", [x], { axes: [1], keepdims: 0 }),
  },
  {
    name: "ReduceMean axes",
    from: 13,
    dims: [2, 3, 4],
    make: (b, x) => b.node("ReduceMean", [x], { axes: [-1, 1] }),
  },
  { name: "ReduceMean of everything", from: 13, dims: [2, 3], make: (b, x) => b.node("ReduceMean", [x]) },
  ...[
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceProd",
    "ReduceSumSquare",
  ].map(
    (op): Case => ({
      name: `${op} axes`,
      from: 12,
      dims: [2, 3, 4],
      make: (b, x) => b.node(op, [x], { axes: [2] }),
    }),
  ),
  {
    name: "ReduceLogSum axes",
    from: 12,
    dims: [2, 3],
    make: (b, x) => b.node("ReduceLogSum", [b.node("Exp", [x])], { axes: [1] }),
  },
  {
    name: "Softmax over the last axis",
    from: 11,
    dims: [2, 3, 4],
    make: (b, x) => b.node("Softmax", [x], { axis: 2 }),
    after: ["Softmax"],
  },
  {
    name: "Softmax over flattened axes",
    from: 11,
    dims: [2, 3, 4],
    make: (b, x) => b.node("Softmax", [x], { axis: 1 }),
    after: ["Flatten", "Softmax", "Shape", "Reshape"],
  },
  { name: "LogSoftmax by default", from: 9, dims: [2, 3, 4], make: (b, x) => b.node("LogSoftmax", [x]) },
  {
    name: "Hardmax over flattened axes",
    from: 11,
    dims: [2, 3, 4],
    make: (b, x) => b.node("Hardmax", [x], { axis: 1 }),
  },
  {
    name: "Clip bounds",
    from: 7,
    dims: [2, 8],
    make: (b, x) => b.node("Clip", [x], { min: floatAttr(-0.25), max: floatAttr(0.5) }),
  },
  {
    name: "Clip with one bound",
    from: 10,
    dims: [2, 8],
    make: (b, x) => b.node("Clip", [x], { max: floatAttr(0.5) }),
  },
  {
    name: "Dropout at inference",
    from: 7,
    dims: [2, 8],
    make: (b, x) => b.node("Dropout", [x], { ratio: floatAttr(0.5) }),
  },
  {
    name: "BatchNormalization",
    from: 7,
    dims: [2, 3, 4],
    make: (b, x) =>
      b.node("BatchNormalization", [
        x,
        ...[1, 2, 3].map((p) => b.constant(f32Tensor([p, 2, 0.5]))),
        b.constant(f32Tensor([1, 2, 3])),
      ]),
  },
  {
    name: "Pad",
    from: 10,
    dims: [2, 3],
    make: (b, x) => b.node("Pad", [x], { pads: [0, 1, 1, 2], value: floatAttr(0.5) }),
  },
  {
    name: "Pad by reflection",
    from: 7,
    dims: [2, 3],
    make: (b, x) => b.node("Pad", [x], { pads: [0, 2, 0, 1], mode: "reflect" }),
  },
  {
    name: "Slice",
    from: 9,
    dims: [4, 5],
    make: (b, x) => b.node("Slice", [x], { starts: [1, -3], ends: [3, 100], axes: [0, 1] }),
  },
  {
    name: "Split sizes",
    from: 11,
    dims: [2, 5],
    make: (b, x) =>
      b.node("Concat", b.multi("Split", [x], 2, { axis: 1, split: [2, 3] }).reverse(), { axis: 1 }),
  },
  {
    name: "Split in equal parts",
    from: 13,
    dims: [2, 6],
    make: (b, x) => b.node("Concat", b.multi("Split", [x], 3, { axis: 1 }).reverse(), { axis: 1 }),
  },
  { name: "TopK", from: 9, dims: [2, 6], make: (b, x) => b.multi("TopK", [x], 2, { k: 3 })[0]! },
  {
    name: "Upsample with attribute scales",
    from: 7,
    dims: [1, 2, 3, 3],
    make: (b, x) => b.node("Upsample", [x], { mode: "nearest", scales: floatsAttr([1, 1, 2, 3]) }),
    after: ["Resize"],
  },
  {
    name: "Upsample linear",
    from: 9,
    dims: [1, 2, 3, 3],
    make: (b, x) => b.node("Upsample", [x, b.constant(f32Tensor([1, 1, 2, 2]))], { mode: "linear" }),
    after: ["Resize"],
  },
  {
    name: "Resize nearest up",
    from: 10,
    dims: [1, 2, 3, 3],
    make: (b, x) => b.node("Resize", [x, b.constant(f32Tensor([1, 1, 2, 2]))], { mode: "nearest" }),
  },
  {
    name: "Resize nearest down by a whole number",
    from: 10,
    dims: [1, 2, 6, 6],
    make: (b, x) => b.node("Resize", [x, b.constant(f32Tensor([1, 1, 0.5, 0.5]))], { mode: "nearest" }),
  },
  {
    name: "Resize linear",
    from: 10,
    dims: [1, 2, 3, 3],
    make: (b, x) => b.node("Resize", [x, b.constant(f32Tensor([1, 1, 1.5, 2]))], { mode: "linear" }),
  },
  {
    name: "Resize to sizes",
    from: 11,
    dims: [1, 2, 3, 3],
    make: (b, x) =>
      b.node(
        "Resize",
        [x, b.constant(f32Tensor([])), b.constant(f32Tensor([])), b.constant(i64Tensor([1, 2, 5, 4]))],
        { mode: "linear", coordinate_transformation_mode: "half_pixel" },
      ),
  },
  {
    name: "Scatter",
    from: 9,
    dims: [2, 3],
    make: (b, x) =>
      b.node("Scatter", [x, b.constant(i64Tensor([1, 0], [1, 2])), b.constant(f32Tensor([5, 6], [1, 2]))], {
        axis: 1,
      }),
    after: ["ScatterElements"],
  },
  {
    name: "GroupNormalization per group",
    from: 18,
    dims: [1, 4, 6],
    make: (b, x) =>
      b.node("GroupNormalization", [x, b.constant(f32Tensor([1, 2])), b.constant(f32Tensor([0.5, -0.5]))], {
        num_groups: 2,
      }),
    after: ["Reshape", "Expand", "Reshape", "Reshape", "Expand", "Reshape", "GroupNormalization"],
  },
  { name: "DFT", from: 17, dims: [1, 8, 1], make: (b, x) => b.node("DFT", [x], { axis: 1 }) },
  {
    name: "GridSample",
    from: 16,
    dims: [1, 1, 4, 4],
    make: (b, x) =>
      b.node("GridSample", [x, b.constant(f32Tensor([-0.5, 0.25, 0.5, 1, -1, 0, 0.2, 0.3], [1, 2, 2, 2]))], {
        mode: "bilinear",
      }),
  },
  {
    name: "RoiAlign",
    from: 10,
    dims: [1, 1, 6, 6],
    make: (b, x) =>
      b.node("RoiAlign", [x, b.constant(f32Tensor([0, 0, 4, 3], [1, 4])), b.constant(i64Tensor([0]))], {
        output_height: 2,
        output_width: 2,
      }),
  },
  {
    name: "AveragePool",
    from: 10,
    dims: [1, 1, 5, 5],
    make: (b, x) => b.node("AveragePool", [x], { kernel_shape: [2, 2], strides: [2, 2], pads: [0, 0, 1, 1] }),
  },
];

/** onnxruntime has no kernel for GroupNormalization-18 of its own opset but inlines both versions. */
const TO = 21;

function build(c: Case): Model {
  const b = new ModelBuilder({ opset: c.from, irVersion: 7 });
  const x = b.input("x", "f32", [...c.dims]);
  return b.output(c.make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

describe("convert-opset", () => {
  it.each(CASES)("$name", async (c) => {
    const before = build(c);
    const model = cloneModel(before);
    const decisions = await run(model, convertOpset, { opset: TO });
    expect(decisions.filter((d) => d.kind === "skipped")).toEqual([]);
    expect(model.opsets.get("")).toBe(TO);
    expect(model.irVersion).toBe(10);
    if (c.after !== undefined) expect(ops(model)).toEqual(c.after);
    expect(await difference(before, model, { x: wave(c.dims) })).toBeLessThan(EXACT);
  });

  it("knows what every version of every operator changed", () => {
    const unknown = OPS.filter((s) => s.domain === "").flatMap((s) =>
      s.versions
        .filter((v, i) => i > 0 && v > 7 && v <= 26 && stepTo(s.op, v) === undefined)
        .map((v) => `${s.op}-${v}`),
    );
    expect(unknown).toEqual([]);
  });

  it("converts subgraphs with the graph", async () => {
    const b = new ModelBuilder({ opset: 12, irVersion: 8 });
    const x = b.input("x", "f32", [2, 3]);
    const flag = b.input("flag", "bool", []);
    const branch = (name: string, axis: number) =>
      b.subgraph(name, (g) =>
        g.output(g.node("ReduceSum", [x], { axes: [axis], keepdims: 0 }), `${name}_y`, {
          kind: "tensor",
          dtype: "f32",
          shape: null,
        }),
      );
    const y = b.node("If", [flag], { then_branch: branch("then", 0), else_branch: branch("else", 1) });
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const before = cloneModel(model);
    await run(model, convertOpset, { opset: TO });
    const inner = [...model.graph.nodes()].flatMap((n) => subgraphs(n)).flatMap((g) => [...g.nodes()]);
    expect(inner.map((n) => n.attrs.has("axes"))).toEqual([false, false]);
    const no = { dtype: "bool" as const, dims: [], bytes: Uint8Array.of(0) };
    expect(await difference(before, model, { x: wave([2, 3]), flag: no })).toBeLessThan(EXACT);
  });

  it.each([
    { name: "an unknown operator", from: 17, op: "Mystery", attrs: {}, why: /unknown/ },
    { name: "spatial batch norm", from: 7, op: "BatchNormalization", attrs: { spatial: 0 }, why: /spatial/ },
    {
      name: "a fractional nearest shrink",
      from: 10,
      op: "Resize",
      attrs: { mode: "nearest" },
      why: /fraction/,
    },
    {
      name: "a removed coordinate mode",
      from: 11,
      op: "Resize",
      attrs: { coordinate_transformation_mode: "tf_half_pixel_for_nn" },
      why: /removed in opset 13/,
    },
  ])("changes nothing when $name is in the way", async ({ from, op, attrs, why }) => {
    const b = new ModelBuilder({ opset: from });
    const x = b.input("x", "f32", [1, 3, 6, 6]);
    const scales = b.constant(f32Tensor([1, 1, 0.4, 0.4]));
    const inputs =
      op === "Resize"
        ? from === 10
          ? [x, scales]
          : [x, b.constant(f32Tensor([])), scales]
        : [x, ...[0, 1, 2, 3].map(() => b.constant(f32Tensor([1, 2, 3])))];
    const reduced = b.node("ReduceSum", [b.node(op, inputs, attrs)], { axes: [1] });
    const model = b.output(reduced, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const decisions = await run(model, convertOpset, { opset: TO });
    expect(decisions.find((d) => d.rule === "opset")).toMatchObject({
      kind: "skipped",
      why: expect.stringMatching(why),
    });
    expect(model.opsets.get("")).toBe(from);
    expect([...model.graph.nodes()][1]!.attrs.has("axes")).toBe(true);
  });

  it("leaves newer models, and refuses what the target cannot load", async () => {
    const at = (opset: number): Model => {
      const b = new ModelBuilder({ opset });
      return b
        .output(b.node("Relu", [b.input("x", "f32", [2])]), "y", { kind: "tensor", dtype: "f32", shape: [2] })
        .build();
    };
    const model = at(22);
    await run(model, convertOpset, {}, { target: target("cpu-x64") });
    expect(model.opsets.get("")).toBe(22);
    await expect(run(at(22), convertOpset, {}, { target: target("qnn-htp") })).rejects.toMatchObject({
      code: "TARGET_OPSET_UNSUPPORTED",
    });
  });

  it("stamps the IR version released with the opset, never a newer one", () => {
    const model = new ModelBuilder({ opset: 17 }).build();
    expect([7, 17, 19, 21, 23, 24, 25].map((o) => stampedIrVersion(model, o))).toEqual([
      3, 8, 9, 10, 11, 12, 13,
    ]);
  });
});
