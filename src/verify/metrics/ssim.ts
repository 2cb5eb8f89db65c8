import { clip, type SampleRange } from "./psnr.ts";

/** Window of Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, §III-B. */
const WINDOW = 11;
const SIGMA = 1.5;
const K1 = 0.01;
const K2 = 0.03;

/** Normalised 1-D Gaussian of odd length. The 2-D window is its outer product. */
export function gaussianWindow(length: number, sigma = SIGMA): Float64Array {
  const w = new Float64Array(length);
  const mid = (length - 1) / 2;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += w[i] = Math.exp(-((i - mid) ** 2) / (2 * sigma * sigma));
  for (let i = 0; i < length; i++) w[i]! /= sum;
  return w;
}

/** Weighted means over every whole window of one plane: rows, then columns. */
function filter(
  plane: Float64Array,
  height: number,
  width: number,
  wy: Float64Array,
  wx: Float64Array,
): Float64Array {
  const outW = width - wx.length + 1;
  const outH = height - wy.length + 1;
  const rows = new Float64Array(height * outW);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < outW; x++) {
      let sum = 0;
      for (let k = 0; k < wx.length; k++) sum += wx[k]! * plane[y * width + x + k]!;
      rows[y * outW + x] = sum;
    }
  }
  const out = new Float64Array(outH * outW);
  for (let y = 0; y < outH; y++) {
    for (let x = 0; x < outW; x++) {
      let sum = 0;
      for (let k = 0; k < wy.length; k++) sum += wy[k]! * rows[(y + k) * outW + x]!;
      out[y * outW + x] = sum;
    }
  }
  return out;
}

function product(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((v, i) => v * b[i]!);
}

/** Largest odd window that fits: images smaller than 11 pixels get a smaller one. */
function windowFor(length: number): Float64Array {
  const fit = Math.min(WINDOW, length);
  return gaussianWindow(fit % 2 === 1 ? fit : Math.max(1, fit - 1));
}

/**
 * Mean structural similarity of two samples clipped to the range. The last two of `dims` are height and width, every
 * plane before them counts equally; only whole windows count. Samples without a spatial shape are one row.
 */
export function ssim(
  reference: ArrayLike<number>,
  candidate: ArrayLike<number>,
  dims: readonly number[],
  range: SampleRange,
): number {
  const width = dims.at(-1) ?? reference.length;
  const height = dims.length > 1 ? dims.at(-2)! : 1;
  const plane = width * height;
  const a = clip(reference, range);
  const b = clip(candidate, range);
  const peak = range.high - range.low;
  const c1 = (K1 * peak) ** 2;
  const c2 = (K2 * peak) ** 2;
  const wy = windowFor(height);
  const wx = windowFor(width);
  let sum = 0;
  let count = 0;
  for (let at = 0; at + plane <= a.length && plane > 0; at += plane) {
    const x = a.subarray(at, at + plane);
    const y = b.subarray(at, at + plane);
    const mx = filter(x, height, width, wy, wx);
    const my = filter(y, height, width, wy, wx);
    const xx = filter(product(x, x), height, width, wy, wx);
    const yy = filter(product(y, y), height, width, wy, wx);
    const xy = filter(product(x, y), height, width, wy, wx);
    for (let i = 0; i < mx.length; i++) {
      const m = mx[i]! * my[i]!;
      const mm = mx[i]! ** 2 + my[i]! ** 2;
      const variance = xx[i]! + yy[i]! - mm;
      const covariance = xy[i]! - m;
      sum += ((2 * m + c1) * (2 * covariance + c2)) / ((mm + c1) * (variance + c2));
      count++;
    }
  }
  return count === 0 ? 1 : sum / count;
}
