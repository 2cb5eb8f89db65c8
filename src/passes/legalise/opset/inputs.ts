import { f32Tensor, i64Tensor, type Tensor } from "../../../ir/tensor.ts";
import { castTensor } from "../../../runtime/kernels/cast.ts";
import {
  type Draft,
  type Step,
  type StepContext,
  setInput,
  take,
  takeFloat,
  takeInt,
  takeInts,
} from "./step.ts";

/** A list attribute that became an int64 input; an absent or empty one leaves the input absent. */
export function intsToInput(name: string, at: number): Step {
  return (d, c) => {
    const values = takeInts(d, name);
    if (values !== undefined && values.length > 0) setInput(d, c, at, i64Tensor(values), name);
    return null;
  };
}

/** A scalar of the data type of input 0; `null` when that type is unknown. */
function scalarLike(c: StepContext, value: number): Tensor | null {
  const id = c.node.inputs[0];
  const dtype = id === null || id === undefined ? null : (c.shapes?.dtype(id) ?? null);
  return dtype === null ? null : castTensor(f32Tensor([value], []), dtype);
}

const NO_TYPE = "the element type of its input is unknown";

function boundToInput(d: Draft, c: StepContext, name: string, at: number): string | null {
  const value = takeFloat(d, name);
  // The defaults of Clip-6 are the largest finite numbers: no bound.
  if (value === undefined || Math.abs(value) >= 3.4e38) return null;
  const scalar = scalarLike(c, value);
  if (scalar === null) return NO_TYPE;
  setInput(d, c, at, scalar, name);
  return null;
}

/** Clip-11: bounds are inputs. */
export const clip11: Step = (d, c) => boundToInput(d, c, "min", 1) ?? boundToInput(d, c, "max", 2);

/** Pad-11: pads and the fill value are inputs. */
export const pad11: Step = (d, c) => {
  const pads = takeInts(d, "pads");
  if (pads === undefined) return "it has no pads";
  setInput(d, c, 1, i64Tensor(pads), "pads");
  const value = takeFloat(d, "value") ?? 0;
  if (value === 0) return null;
  const scalar = scalarLike(c, value);
  if (scalar === null) return NO_TYPE;
  setInput(d, c, 2, scalar, "value");
  return null;
};

/** Slice-10: starts, ends and axes are inputs. */
export const slice10: Step = (d, c) => {
  const starts = takeInts(d, "starts");
  const ends = takeInts(d, "ends");
  const axes = takeInts(d, "axes");
  if (starts === undefined || ends === undefined) return "it has no starts or ends";
  setInput(d, c, 1, i64Tensor(starts), "starts");
  setInput(d, c, 2, i64Tensor(ends), "ends");
  if (axes !== undefined) setInput(d, c, 3, i64Tensor(axes), "axes");
  return null;
};

/** TopK-10: k is an input. */
export const topK10: Step = (d, c) => {
  const k = takeInt(d, "k");
  if (k === undefined) return "it has no k";
  setInput(d, c, 1, i64Tensor([k]), "k");
  return null;
};

/** DFT-20: the axis is an input, and its default moved from 1 to -2. */
export const dft20: Step = (d, c) => {
  setInput(d, c, 2, i64Tensor([takeInt(d, "axis") ?? 1], []), "axis");
  return null;
};

/** Dropout-12: ratio and training mode are inputs; without them the operator is an identity. */
export const dropout12: Step = (d) => {
  take(d, "ratio");
  return null;
};
