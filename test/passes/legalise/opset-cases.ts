import type { ModelBuilder } from "../../../src/ir/build.ts";
import { type Attr, floatAttr, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";

/** A model of one old spelling. */
export interface OpsetCase {
  readonly name: string;
  readonly from: number;
  readonly dims: readonly number[];
  make(b: ModelBuilder, x: ValueId): ValueId;
  /** Operators expected afterwards. */
  readonly after?: readonly string[];
}

const floatsAttr = (value: readonly number[]): Attr => ({ kind: "floats", value });

/** Operators whose definition changed, in an old spelling that onnxruntime still runs. */
export const OPSET_CASES: readonly OpsetCase[] = [
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
    (op): OpsetCase => ({
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
