import { elementCount } from "../../ir/dtype.ts";
import type { Tensor, TensorReader } from "../../ir/tensor.ts";
import { asF32, elementsOf } from "../../runtime/kernels/elements.ts";
import { sliceTensor } from "../../runtime/kernels/slice.ts";
import type { WeightShape } from "../../targets/lower/weights.ts";
import type { Written } from "./write.ts";

/** Infinite ratios are reported as this: beyond it float32 itself is the limit. */
const CEILING_DB = 150;

/** Weights are scored on as many output channels as this many elements hold; channels are quantized independently. */
const SAMPLE = 1 << 20;

/** Weights scored at the same time, so that several workers have something to do. */
const AT_ONCE = 8;

function sampleOf(w: WeightShape): WeightShape {
  const channels = w.tensor.dims[w.outAxis]!;
  const each = elementCount(w.tensor.dims) / channels;
  const end = Math.max(1, Math.floor(SAMPLE / each));
  return end >= channels ? w : { ...w, tensor: sliceTensor(w.tensor, { axis: w.outAxis, start: 0, end }) };
}

async function floatsOf(t: Tensor, reader: TensorReader): Promise<Float32Array> {
  return asF32({ dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) });
}

const rounded = (x: number, digits: number): number => Math.round(x * 10 ** digits) / 10 ** digits;

function decibels(signal: number, noise: number): number {
  if (noise === 0 || signal === 0) return noise === 0 ? CEILING_DB : 0;
  return Math.min(CEILING_DB, 10 * Math.log10(signal / noise));
}

/** SQNR of a layer's output as a fit predicted it, in dB; `figures` are noise and signal first. */
export async function predictedSqnr(figures: Tensor, reader: TensorReader): Promise<number> {
  const bytes = await reader.read(figures);
  const [noise, signal] = elementsOf({ dtype: figures.dtype, dims: figures.dims, bytes }) as Float64Array;
  return rounded(decibels(signal!, noise!), 4);
}

/**
 * Predicted SQNR of the layer's output where a fit knows the inputs; else 10·log10(Σw² / Σ(ŵ-w)²) of the weight and what
 * its stored form stands for.
 */
async function weightSqnr({ shape, restore, fitted }: Written, reader: TensorReader): Promise<number> {
  if (fitted !== null) return predictedSqnr(fitted.figures, reader);
  const sample = sampleOf(shape);
  const [a, b] = await Promise.all([floatsOf(sample.tensor, reader), floatsOf(restore(sample), reader)]);
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < a.length; i++) {
    const d = b[i]! - a[i]!;
    signal += a[i]! * a[i]!;
    noise += d * d;
  }
  return rounded(decibels(signal, noise), 2);
}

/** The error of every weight, in order. */
export async function scores(weights: readonly Written[], reader: TensorReader): Promise<number[]> {
  const out = new Array<number>(weights.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < weights.length; i = next++) out[i] = await weightSqnr(weights[i]!, reader);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return out;
}
