import { fitRow, quantizeRow } from "./quantize/fit.ts";
import { gridOf, type RangeSearch, type ScaleType } from "./quantize/grid.ts";
import type { Fit } from "./quantize/place.ts";
import { axisRows, forEachRow } from "./quantize/rows.ts";

/**
 * Weights of the `com.microsoft.MatMulNBits` operator: Y = A[…,K] · B with B stored as unsigned integers of 2, 4 or 8
 * bits in blocks of `blockSize` along K.
 */
export interface NBits {
  /** uint8 [N, ceil(K/blockSize), blockSize·bits/8]; the first element of a block is in the lowest bits. */
  readonly packed: Uint8Array;
  /** [N, ceil(K/blockSize)]. */
  readonly scales: Float32Array;
  /** uint8 [N, ceil(ceil(K/blockSize)·bits/8)], packed like the data, each row padded to a byte; `null` stands for 2^(bits-1). */
  readonly zeroPoints: Uint8Array | null;
}

/** Shape of a weight: `KN` is a MatMul's B, `NK` a Linear's weight or Gemm with transB. */
export interface NBitsLayout {
  readonly K: number;
  readonly N: number;
  readonly order: "KN" | "NK";
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
}

function writeBits(
  into: Uint8Array,
  start: number,
  values: Uint8Array,
  count: number,
  bits: 2 | 4 | 8,
): void {
  const perByte = 8 / bits;
  if (bits === 8) {
    for (let i = 0; i < count; i++) into[start + i] = values[i]!;
  } else if (bits === 4) {
    const pairs = count >> 1;
    for (let i = 0; i < pairs; i++) into[start + i] = values[2 * i]! | (values[2 * i + 1]! << 4);
    if (count & 1) into[start + pairs] = values[count - 1]!;
  } else {
    for (let i = 0; i < count; i++)
      into[start + Math.floor(i / perByte)]! |= values[i]! << ((i % perByte) * bits);
  }
}

/**
 * Packs integers that are already chosen, one row per output: `q` is N × K, `zero` N × blocks, all unsigned. The rest of
 * the last block of a row is filled with its zero point.
 */
export function packRows(
  rows: { readonly q: ArrayLike<number>; readonly zero: ArrayLike<number> },
  layout: Omit<NBitsLayout, "order">,
): { readonly packed: Uint8Array; readonly zeroPoints: Uint8Array } {
  const { K, N, bits, blockSize } = layout;
  const blocks = Math.ceil(K / blockSize);
  const rowBytes = (blocks * blockSize * bits) / 8;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const packed = new Uint8Array(N * rowBytes);
  const zeroPoints = new Uint8Array(N * zeroBytes);
  const row = new Uint8Array(blocks * blockSize);
  const zeros = new Uint8Array(blocks);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) row[k] = rows.q[n * K + k]!;
    for (let b = 0; b < blocks; b++) zeros[b] = rows.zero[n * blocks + b]!;
    row.fill(zeros[blocks - 1]!, K);
    writeBits(packed, n * rowBytes, row, row.length, bits);
    writeBits(zeroPoints, n * zeroBytes, zeros, blocks, bits);
  }
  return { packed, zeroPoints };
}

/**
 * Quantizes and packs a finite weight. Symmetric weights have no zero points (2^(bits-1) is implied); the rest of the
 * last block of a row is filled with the zero point.
 */
export function packNBits(
  x: Float32Array,
  layout: NBitsLayout,
  options: {
    readonly symmetric: boolean;
    readonly search: RangeSearch | null;
    readonly scaleType: ScaleType;
  },
): NBits {
  const { K, N, bits, blockSize } = layout;
  const grid = gridOf({ bits, signed: false, symmetric: options.symmetric });
  const settings = { grid, search: options.search, scaleType: options.scaleType };
  const blocks = Math.ceil(K / blockSize);
  const rowBytes = (blocks * blockSize * bits) / 8;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const packed = new Uint8Array(N * rowBytes);
  const scales = new Float32Array(N * blocks);
  const zeroPoints = options.symmetric ? null : new Uint8Array(N * zeroBytes);
  const row = new Uint8Array(blocks * blockSize);
  const zeros = new Uint8Array(blocks);
  const fit: Fit = { scale: 1, zero: 0 };
  const axis = layout.order === "NK" ? { outer: N, length: K, inner: 1 } : { outer: 1, length: K, inner: N };
  forEachRow(x, axisRows(axis), (n, values, start) => {
    for (let b = 0; b < blocks; b++) {
      const from = start + b * blockSize;
      const to = Math.min(start + K, from + blockSize);
      fitRow(fit, values, from, to, settings);
      quantizeRow(values, from, to, fit, grid, row, b * blockSize);
      scales[n * blocks + b] = fit.scale;
      zeros[b] = fit.zero;
    }
    row.fill(zeros[blocks - 1]!, K);
    writeBits(packed, n * rowBytes, row, row.length, bits);
    if (zeroPoints !== null) writeBits(zeroPoints, n * zeroBytes, zeros, blocks, bits);
  });
  return { packed, scales, zeroPoints };
}

function readBits(from: Uint8Array, start: number, index: number, bits: 2 | 4 | 8): number {
  const bit = index * bits;
  return (from[start + (bit >> 3)]! >> (bit & 7)) & ((1 << bits) - 1);
}

/** The weight that MatMulNBits multiplies with, in the order of `layout`. */
export function unpackNBits(w: NBits, layout: NBitsLayout): Float32Array {
  const { K, N, bits, blockSize, order } = layout;
  const blocks = Math.ceil(K / blockSize);
  const rowBytes = (blocks * blockSize * bits) / 8;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const out = new Float32Array(K * N);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++) {
      const b = Math.floor(k / blockSize);
      const zero = w.zeroPoints === null ? 2 ** (bits - 1) : readBits(w.zeroPoints, n * zeroBytes, b, bits);
      const value = (readBits(w.packed, n * rowBytes, k, bits) - zero) * w.scales[n * blocks + b]!;
      out[order === "KN" ? k * N + n : n * K + k] = value;
    }
  return out;
}
