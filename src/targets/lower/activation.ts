import type { DType } from "../../ir/dtype.ts";
import { stringAttr, type ValueId } from "../../ir/graph.ts";
import type { Emit, Lowering } from "./emit.ts";
import { stash } from "./stash.ts";

/** 0.5 · x · (1 + erf(x / √2)). */
function erfGelu(e: Emit, x: ValueId, dtype: DType = e.dtype(0) ?? "f32"): ValueId {
  const erf = e.op("Erf", [e.op("Div", [x, e.scalar(Math.SQRT2, dtype)])]);
  const half = e.op("Mul", [x, e.op("Add", [erf, e.scalar(1, dtype)])]);
  return e.op("Mul", [half, e.scalar(0.5, dtype)]);
}

/** 0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))). */
function tanhGelu(e: Emit, x: ValueId): ValueId {
  const dtype = e.dtype(0) ?? "f32";
  const cube = e.op("Mul", [e.op("Mul", [x, x]), x]);
  const inner = e.op("Add", [x, e.op("Mul", [cube, e.scalar(0.044715, dtype)])]);
  const tanh = e.op("Tanh", [e.op("Mul", [inner, e.scalar(Math.sqrt(2 / Math.PI), dtype)])]);
  const half = e.op("Mul", [x, e.op("Add", [tanh, e.scalar(1, dtype)])]);
  return e.op("Mul", [half, e.scalar(0.5, dtype)]);
}

const NO_INPUT = { why: "it has no input" };

/** Gelu (ONNX Gelu-20, or onnxruntime's operator of that name, which is always the erf form) in primitives. */
export const geluInPrimitives: Lowering = (e) => {
  const x = e.input(0);
  if (x === null) return NO_INPUT;
  return e.str("approximate", "none") === "tanh" ? tanhGelu(e, x) : erfGelu(e, x);
};

/** onnxruntime's FastGelu, whose bias is added first, in primitives. */
export const fastGeluInPrimitives: Lowering = (e) => {
  const x = e.input(0);
  if (x === null) return NO_INPUT;
  const bias = e.input(1);
  return tanhGelu(e, bias === null ? x : e.op("Add", [x, bias]));
};

/** onnxruntime's Gelu as the standard operator of opset 20. */
export const geluAsStandard: Lowering = (e) => {
  const x = e.input(0);
  if (x === null) return NO_INPUT;
  return e.opset < 20
    ? { why: `Gelu needs opset 20, the model has ${e.opset}` }
    : e.op("Gelu", [x], { approximate: stringAttr("none") });
};

/** x · sigmoid(alpha · x): QuickGelu, and Swish of opset 24, in primitives. */
export function sigmoidGate(defaultAlpha: number): Lowering {
  return (e) => {
    const x = e.input(0);
    if (x === null) return NO_INPUT;
    const alpha = e.float("alpha", defaultAlpha);
    const gate = alpha === 1 ? x : e.op("Mul", [x, e.scalar(alpha, e.dtype(0) ?? "f32")]);
    return e.op("Mul", [x, e.op("Sigmoid", [gate])]);
  };
}

/**
 * onnxruntime's BiasSplitGelu in primitives, as its kernels compute it: the bias is added in the type of the data, the
 * first half of the last axis times the erf GELU of the second half in fp32, rounded once.
 */
export const biasSplitGeluInPrimitives: Lowering = (e) => {
  const [x, bias] = [e.input(0), e.input(1)];
  const width = e.shape(1)?.[0] ?? e.shape(0)?.at(-1);
  if (x === null || bias === null || typeof width !== "number" || width % 2 !== 0)
    return { why: "its width is unknown or odd" };
  const s = stash(e, e.op("Add", [x, bias]));
  const [value, gate] = e.split(s.x, [width / 2, width / 2], -1);
  return s.back(e.op("Mul", [value!, erfGelu(e, gate!, s.wide)]));
};
