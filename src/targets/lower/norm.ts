import { DTYPES } from "../../ir/dtype.ts";
import { floatAttr, type ValueId } from "../../ir/graph.ts";
import type { Emit, Lowering } from "./emit.ts";
import { stash } from "./stash.ts";

/** (x - mean) / sqrt(variance + epsilon) over the given axes. */
function standardised(
  e: Emit,
  x: ValueId,
  axes: readonly number[],
  epsilon: number,
  wide: "f32" | "f64",
): ValueId {
  const centred = e.op("Sub", [x, e.mean(x, axes)]);
  const variance = e.mean(e.op("Mul", [centred, centred]), axes);
  const deviation = e.op("Sqrt", [e.op("Add", [variance, e.scalar(epsilon, wide)])]);
  return e.op("Div", [centred, deviation]);
}

function affine(e: Emit, x: ValueId, scale: ValueId | null, bias: ValueId | null): ValueId {
  const scaled = scale === null ? x : e.op("Mul", [x, scale]);
  return bias === null ? scaled : e.op("Add", [scaled, bias]);
}

const extraOutputs = (e: Emit): boolean =>
  e.node.outputs.slice(1).some((o) => o !== null && (e.graph.users(o).length > 0 || e.graph.isOutput(o)));

/** LayerNormalization (ONNX LayerNormalization-17) in primitives. */
export const layerNormInPrimitives: Lowering = (e) => {
  const rank = e.shape(0)?.length;
  const x = e.input(0);
  if (rank === undefined || x === null) return { why: "the rank of its input is unknown" };
  if (extraOutputs(e)) return { why: "its mean or deviation is used" };
  const axis = e.int("axis", -1);
  const from = axis < 0 ? axis + rank : axis;
  const axes = Array.from({ length: rank - from }, (_, i) => from + i);
  const s = stash(e, x);
  const y = s.back(standardised(e, s.x, axes, e.float("epsilon", 1e-5), s.wide));
  return affine(e, y, e.input(1), e.input(2));
};

/** RMSNormalization (ONNX RMSNormalization-23) in primitives. */
export const rmsNormInPrimitives: Lowering = (e) => {
  const rank = e.shape(0)?.length;
  const x = e.input(0);
  if (rank === undefined || x === null) return { why: "the rank of its input is unknown" };
  const axis = e.int("axis", -1);
  const from = axis < 0 ? axis + rank : axis;
  const axes = Array.from({ length: rank - from }, (_, i) => from + i);
  const s = stash(e, x);
  const square = e.mean(e.op("Mul", [s.x, s.x]), axes);
  const root = e.op("Sqrt", [e.op("Add", [square, e.scalar(e.float("epsilon", 1e-5), s.wide)])]);
  return affine(e, s.back(e.op("Div", [s.x, root])), e.input(1), null);
};

/** What group normalisation needs: scale and bias per channel, shaped to broadcast over [N, C, ...]. */
function groupParts(
  e: Emit,
): { x: ValueId; groups: number; rank: number; scale: ValueId; bias: ValueId } | string {
  const [x, scale, bias] = [e.input(0), e.input(1), e.input(2)];
  const shape = e.shape(0);
  if (x === null || scale === null || bias === null || shape === null)
    return "the rank of its input is unknown";
  const groups = e.int("num_groups", 0);
  const channels = shape[1];
  const length = e.shape(1)?.[0];
  if (typeof channels !== "number" || length !== channels)
    return "its scale is not one number per channel; convert the model to opset 21 first";
  const column = [channels, ...shape.slice(2).map(() => 1)];
  return { x, groups, rank: shape.length, scale: e.reshape(scale, column), bias: e.reshape(bias, column) };
}

/** GroupNormalization as Reshape, InstanceNormalization, Reshape, Mul, Add: what PyTorch's exporter writes. */
export const groupNormThroughInstanceNorm: Lowering = (e) => {
  const p = groupParts(e);
  if (typeof p === "string") return { why: p };
  const dtype = e.dtype(0) ?? "f32";
  const grouped = e.reshape(p.x, [0, p.groups, -1]);
  const normalised = e.op(
    "InstanceNormalization",
    [grouped, e.full(1, [p.groups], dtype), e.full(0, [p.groups], dtype)],
    { epsilon: floatAttr(e.float("epsilon", 1e-5)) },
  );
  return affine(e, e.op("Reshape", [normalised, e.op("Shape", [p.x])]), p.scale, p.bias);
};

/** GroupNormalization in primitives. */
export const groupNormInPrimitives: Lowering = (e) => {
  const p = groupParts(e);
  if (typeof p === "string") return { why: p };
  const s = stash(e, p.x);
  const grouped = e.reshape(s.x, [0, p.groups, -1]);
  const y = standardised(e, grouped, [2], e.float("epsilon", 1e-5), s.wide);
  return affine(e, s.back(e.op("Reshape", [y, e.op("Shape", [p.x])])), p.scale, p.bias);
};

/**
 * onnxruntime's GroupNorm in primitives, as its kernels compute it: statistics, gamma, beta and the activation (0 none,
 * 1 SiLU) in fp32, rounded once to the type of the data. [N, H, W, C], or [N, C, H, W] with `channels_last` 0.
 */
export const contribGroupNormInPrimitives: Lowering = (e) => {
  const [x, gamma, beta] = [e.input(0), e.input(1), e.input(2)];
  const channels = e.shape(1)?.[0];
  const groups = e.int("groups", 0);
  if (x === null || gamma === null || beta === null || typeof channels !== "number")
    return { why: "the number of its channels is unknown" };
  if (groups < 1 || channels % groups !== 0)
    return { why: `${channels} channels do not make ${groups} groups` };
  const last = e.int("channels_last", 1) !== 0;
  const s = stash(e, x);
  const grouped = e.reshape(s.x, last ? [0, -1, groups, channels / groups] : [0, groups, -1]);
  const y = standardised(e, grouped, last ? [1, 3] : [2], e.float("epsilon", 1e-5), s.wide);
  const whole = e.op("Reshape", [y, e.op("Shape", [x])]);
  const parameter = (id: ValueId, i: number): ValueId => {
    const wide = e.dtype(i) === s.wide ? id : e.cast(id, DTYPES[s.wide].onnx);
    return last ? wide : e.reshape(wide, [channels, 1, 1]);
  };
  const scaled = affine(e, whole, parameter(gamma, 1), parameter(beta, 2));
  const silu = e.int("activation", 0) !== 0;
  return s.back(silu ? e.op("Mul", [scaled, e.op("Sigmoid", [scaled])]) : scaled);
};
