import { miniRounder } from "../../../numeric/minifloat.ts";
import { powerOfTwoAbove } from "../../../numeric/quantize/activation.ts";
import { expandBlocks } from "../../../numeric/quantize/expanded.ts";
import { F8_MAX } from "../../../numeric/quantize/float-grid.ts";
import {
  exactScale,
  pairsHold,
  type SaturationRule,
  SMALLEST_SCALE,
} from "../../../numeric/quantize/saturation.ts";
import { splitAxis } from "../../../runtime/kernels/kernel.ts";
import type { IntegerSupport } from "../../../targets/target.ts";
import type { StaticLayer } from "./sites.ts";

/**
 * Rows of a weight in the order an integer kernel sums them: taps slowest, input channels fastest. Products are those of
 * the kernel `quantize-scaled`, rounded alike: a saturation rule must hold for the integers that are written. With a
 * `stride` only every so many-th row.
 */
export function kernelRows(
  w: Float32Array,
  layer: StaticLayer,
  o: { readonly factor: ArrayLike<number>; readonly stride?: number },
): Float32Array[] {
  const { factor, stride = 1 } = o;
  const { dims } = layer.weight;
  const { inner: strideOut } = splitAxis(dims, layer.outAxis);
  const { inner: strideIn } = splitAxis(dims, layer.inAxis);
  const taps = w.length / (layer.outputs * layer.channels);
  return Array.from({ length: Math.ceil(layer.outputs / stride) }, (_, i) => {
    const n = i * stride;
    const row = new Float32Array(taps * layer.channels);
    for (let t = 0; t < taps; t++)
      for (let c = 0; c < layer.channels; c++)
        row[t * layer.channels + c] = w[n * strideOut + c * strideIn + t]! * Math.fround(factor[c]!);
    return row;
  });
}

/** Σ w² per input channel: how much an error of that channel weighs in the layer's output. */
export function inputEnergy(w: Float32Array, layer: StaticLayer): Float64Array {
  const { length, inner } = splitAxis(layer.weight.dims, layer.inAxis);
  const sum = new Float64Array(length);
  for (let i = 0; i < w.length; i++) {
    const c = Math.floor(i / inner) % length;
    sum[c] = sum[c]! + w[i]! ** 2;
  }
  return sum;
}

/** Whether all outputs of a layer share one weight scale. */
export function oneScale(kind: StaticLayer["kind"], scales: IntegerSupport["weightScales"]): boolean {
  return scales === "none" || (scales === "conv" && kind === "matmul");
}

/** What weights divided by their scale are rounded to, and the largest of these numbers. */
export interface WeightLevels {
  readonly largest: number;
  round(x: number): number;
}

const LARGEST = 127;
const INTEGERS: WeightLevels = {
  largest: LARGEST,
  round: (x) => Math.min(LARGEST, Math.max(-LARGEST, Math.round(x))),
};

/** 4-bit weights, as if a whole row were one block. */
const NARROW: WeightLevels = { largest: 7, round: (x) => Math.min(7, Math.max(-7, Math.round(x))) };

/** Integers from −127 to 127, or from −7 to 7 with `narrow`, or the numbers of E4M3FN. */
export function levelsOf(float8: boolean, narrow = false): WeightLevels {
  if (narrow) return NARROW;
  return float8 ? { largest: F8_MAX, round: miniRounder("f8e4m3fn") } : INTEGERS;
}

/** The scale at which the largest weight of a row is the largest E4M3FN number. */
function float8Scale(row: Float32Array): number {
  const most = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return most === 0 ? 1 : Math.fround(Math.max(most / F8_MAX, SMALLEST_SCALE));
}

/** A weight's scale per output channel, and what quantizing it does to the mean of the output. */
export interface WeightFit {
  readonly scale: Float32Array;
  /** Σ (ŵ − w) · mean per output channel, in units of the output. */
  readonly shift: Float64Array;
  /** Relative squared error of the weights as the activations see them. */
  readonly error: number;
  /** Whether sums of neighbouring products can overflow 16 bits. */
  readonly saturates: boolean;
}

/**
 * Fits scales under a saturation rule. `factor` and `mean` are per input channel; `mean` is that of x / factor. With
 * `shared` all output channels get the coarsest scale of them, at which the rule holds for every channel. Powers of two
 * are those above, or half of them where cutting the largest weights off costs less than it gains. E4M3FN weights reach
 * to 448; nothing that multiplies them adds in 16 bits.
 */
export function fitWeight(
  w: Float32Array,
  layer: StaticLayer,
  o: {
    readonly factor: ArrayLike<number>;
    readonly mean: ArrayLike<number>;
    readonly rule: SaturationRule;
    readonly shared?: boolean;
    readonly powerOfTwo?: boolean;
    readonly float8?: boolean;
  },
): WeightFit {
  const { factor, rule } = o;
  const rows = kernelRows(w, layer, { factor });
  const float8 = o.float8 === true;
  const scale = Float32Array.from(rows, (row) => (float8 ? float8Scale(row) : exactScale(row, rule)));
  if (o.shared === true) scale.fill(scale.reduce((a, b) => Math.max(a, b), 0));
  const found = measureWeight(rows, scale, { ...o, channels: layer.channels });
  if (o.powerOfTwo !== true) return found;
  const above = scale.map(powerOfTwoAbove);
  const [wide, tight] = [above, above.map((s) => s / 2)].map((s) =>
    measureWeight(rows, s, { ...o, channels: layer.channels }),
  ) as [WeightFit, WeightFit];
  return tight.error < wide.error && (rule === "none" || !tight.saturates) ? tight : wide;
}

/**
 * 4-bit weights of a linear layer in blocks of inputs with integer scales; see {@link expandBlocks}. `scale` holds the
 * unit of each output.
 */
export function fitBlocks(
  w: Float32Array,
  layer: StaticLayer,
  o: { readonly factor: ArrayLike<number>; readonly mean: ArrayLike<number>; readonly block: number },
): WeightFit {
  const { mean, block } = o;
  const rows = kernelRows(w, layer, { factor: o.factor });
  const shift = new Float64Array(rows.length);
  const unit = new Float32Array(rows.length);
  let [noise, signal] = [0, 0];
  for (const [n, row] of rows.entries()) {
    const found = expandBlocks(row, block);
    unit[n] = found.unit;
    for (const [k, v] of row.entries()) {
      const e = found.q[k]! * Math.fround(found.scale[Math.floor(k / block)]! * found.unit) - v;
      shift[n] = shift[n]! + e * mean[k]!;
      noise += e * e;
      signal += v ** 2;
    }
  }
  return { scale: unit, shift, error: signal > 0 ? noise / signal : 0, saturates: false };
}

/** What rounding to the given scales does. */
function measureWeight(
  rows: readonly Float32Array[],
  scale: Float32Array,
  o: { readonly mean: ArrayLike<number>; readonly channels: number; readonly float8?: boolean },
): WeightFit {
  const { mean, channels, float8 = false } = o;
  const { round } = levelsOf(float8);
  const shift = new Float64Array(rows.length);
  let noise = 0;
  let signal = 0;
  let saturates = false;
  for (const [n, row] of rows.entries()) {
    const s = scale[n]!;
    saturates ||= !float8 && !pairsHold(row, s);
    for (let k = 0; k < row.length; k++) {
      const e = round(row[k]! / s) * s - row[k]!;
      shift[n] = shift[n]! + e * mean[k % channels]!;
      noise += e * e;
      signal += row[k]! ** 2;
    }
  }
  return { scale, shift, error: signal > 0 ? noise / signal : 0, saturates };
}
