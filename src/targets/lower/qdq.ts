import { intAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, inlineTensor, type Tensor } from "../../ir/tensor.ts";

/** Width of a quantized activation. */
export type ActivationBits = 8 | 16;

/** Where QuantizeLinear and DequantizeLinear are defined: 16 bits from ONNX 21 on, an axis from ONNX 13 on. */
export function quantizeDomain(opset: number, bits: ActivationBits): "" | "com.microsoft" {
  return opset >= (bits === 16 ? 21 : 13) ? "" : "com.microsoft";
}

/** Scale and zero point of a whole tensor, both scalars or both vectors of length 1. */
export interface TensorGrid {
  readonly scale: ValueId;
  readonly zero: ValueId;
}

/** Zero point of an activation, 0 of a signed one and of fp8; a scalar unless `vector`. */
export function zeroPoint(
  patch: PatchBuilder,
  value: number,
  o: {
    readonly bits: ActivationBits;
    readonly signed: boolean;
    readonly vector: boolean;
    readonly float8?: boolean;
  },
): ValueId {
  const bytes = new Uint8Array(o.bits / 8);
  if (!o.signed) new DataView(bytes.buffer)[o.bits === 8 ? "setUint8" : "setUint16"](0, value, true);
  const dtype = o.float8 === true ? "f8e4m3fn" : (`${o.signed ? "i" : "u"}${o.bits}` as const);
  return patch.constant(inlineTensor(dtype, o.vector ? [1] : [], bytes), "z");
}

/**
 * QuantizeLinear, then DequantizeLinear. The zero point gives the type; `output_dtype` beside a zero point makes
 * onnxruntime's rewrite of signed activations fail at load, so it is never written.
 */
export function quantizeDequantize(
  patch: PatchBuilder,
  x: ValueId,
  o: { readonly grid: TensorGrid; readonly domain: string; readonly name: string },
): ValueId {
  const { domain, name } = o;
  const { scale, zero } = o.grid;
  const [q] = patch.node({ op: "QuantizeLinear", domain, name: `${name}/q`, inputs: [x, scale, zero] });
  return patch.node({ op: "DequantizeLinear", domain, name: `${name}/dq`, inputs: [q, scale, zero] })[0];
}

/** An integer constant and what it stands for. */
export interface Stored {
  readonly data: Tensor;
  /** One scale, or one per entry of `axis`. */
  readonly scale: ArrayLike<number>;
  /** Entries of the zero point's type, as long as `scale`. */
  readonly zero: Tensor["dtype"];
  readonly zeroValue: number;
  readonly axis: number;
  readonly domain: string;
  readonly name: string;
}

/**
 * A constant behind a DequantizeLinear of its own: per tensor where there is one scale, else along the axis. Runtimes
 * fuse it into its only reader.
 */
export function dequantized(patch: PatchBuilder, s: Stored): ValueId {
  const { length } = s.scale;
  const dims = length === 1 ? [] : [length];
  const width = s.zero === "i32" ? 4 : 1;
  const zero = new Uint8Array(length * width).fill(s.zeroValue);
  return patch.node({
    op: "DequantizeLinear",
    domain: s.domain,
    name: `${s.name}/dq`,
    inputs: [
      patch.constant(s.data, `${s.name}.q`),
      patch.constant(f32Tensor(s.scale, dims), `${s.name}.s`),
      patch.constant(inlineTensor(s.zero, dims, zero), "z"),
    ],
    ...(length > 1 && { attrs: { axis: intAttr(s.axis) } }),
  })[0];
}

/** A bias of 32 bits that is computed, zero point 0, with one scale or one per entry. */
export function dequantizedBias(
  patch: PatchBuilder,
  o: {
    readonly data: ValueId;
    readonly scale: ValueId;
    /** How many scales there are. */
    readonly scales: number;
    readonly domain: string;
    readonly name: string;
  },
): ValueId {
  const zero = inlineTensor("i32", o.scales === 1 ? [] : [o.scales], new Uint8Array(4 * o.scales));
  return patch.node({
    op: "DequantizeLinear",
    domain: o.domain,
    name: `${o.name}/dq`,
    inputs: [o.data, o.scale, patch.constant(zero, "z")],
    ...(o.scales > 1 && { attrs: { axis: intAttr(0) } }),
  })[0];
}

/** Largest magnitude of a 32-bit bias, with room for the rounding of its scale. */
const LARGEST_BIAS = 2 ** 31 - 256;

/**
 * Weight scales at which a bias fits into 32 bits on the grid input scale · weight scale (a dead channel with a bias has
 * a scale near 0 otherwise). A larger scale only makes weights smaller, so saturation rules keep holding.
 */
export function scalesForBias(
  scale: Float32Array,
  bias: ArrayLike<number> | null,
  inputScale: number,
): Float32Array {
  if (bias === null) return scale;
  const least = Array.from(scale, (_, n) => Math.abs(bias[n]!) / (inputScale * LARGEST_BIAS));
  const shared = scale.every((s) => s === scale[0]) && scale.length > 1;
  const most = shared ? Math.max(...least) : 0;
  return scale.map((s, n) => Math.max(s, shared ? most : least[n]!));
}

/** A bias as int32 on the grid of the products it is added to, zero point 0: the only grid integer kernels accept. */
export function biasTensor(bias: ArrayLike<number>, scale: ArrayLike<number>): Tensor {
  const q = Int32Array.from(bias, (b, n) => Math.round(b / scale[scale.length === 1 ? 0 : n]!));
  return inlineTensor("i32", [q.length], new Uint8Array(q.buffer));
}
