import { intAttr, intsAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../ir/tensor.ts";

/** Opset from which each reduction takes its axes as an input. */
const AXES_INPUT = 18;
/** Opset from which Gemm does without a third input. */
const GEMM_ALONE = 11;
/** Opset from which Pad takes its pads as an input. */
const PADS_INPUT = 11;

/** Writes the operators of observers in the spelling of a model's opset. */
export interface Emitter {
  /** Reduces the given axes away. */
  reduce(op: "ReduceMin" | "ReduceMax" | "ReduceMean", x: ValueId, axes: readonly number[]): ValueId;
  reshape(x: ValueId, dims: readonly number[]): ValueId;
  transpose(x: ValueId, perm: readonly number[]): ValueId;
  gather(x: ValueId, index: ValueId, axis: number): ValueId;
  /** xᵀ x of a matrix. */
  gram(x: ValueId): ValueId;
  /** Zeros around the last two axes of an image: top, left, bottom, right. */
  pad(x: ValueId, pads: readonly [number, number, number, number]): ValueId;
  square(x: ValueId): ValueId;
}

/** An emitter into a patch; equal constants are written once. */
export function emitter(patch: PatchBuilder, opset: number): Emitter {
  const known = new Map<string, ValueId>();
  const integers = (values: readonly number[]): ValueId => {
    const key = values.join();
    const id = known.get(key) ?? patch.constant(i64Tensor([...values]), "observe_ints");
    known.set(key, id);
    return id;
  };
  return {
    reduce(op, x, axes) {
      const keepdims = intAttr(0);
      return opset >= AXES_INPUT
        ? patch.node({ op, inputs: [x, integers(axes)], attrs: { keepdims } })[0]
        : patch.node({ op, inputs: [x], attrs: { keepdims, axes: intsAttr(axes) } })[0];
    },
    reshape: (x, dims) => patch.node({ op: "Reshape", inputs: [x, integers(dims)] })[0],
    transpose: (x, perm) => patch.node({ op: "Transpose", inputs: [x], attrs: { perm: intsAttr(perm) } })[0],
    gather: (x, index, axis) =>
      patch.node({ op: "Gather", inputs: [x, index], attrs: { axis: intAttr(axis) } })[0],
    pad(x, [top, left, bottom, right]) {
      const pads = [0, 0, top, left, 0, 0, bottom, right];
      if (opset < PADS_INPUT)
        return patch.node({ op: "Pad", inputs: [x], attrs: { pads: intsAttr(pads) } })[0];
      const zero = patch.constant(f32Tensor([0], []), "observe_zero");
      return patch.node({ op: "Pad", inputs: [x, integers(pads), zero] })[0];
    },
    gram(x) {
      const bias = opset < GEMM_ALONE ? [patch.constant(f32Tensor([0], []), "observe_zero")] : [];
      return patch.node({ op: "Gemm", inputs: [x, x, ...bias], attrs: { transA: intAttr(1) } })[0];
    },
    square: (x) => patch.node({ op: "Mul", inputs: [x, x] })[0],
  };
}
