import { fitRow, quantizeRow } from "./fit.ts";
import type { QuantizeOptions } from "./grid.ts";
import type { Fit } from "./place.ts";
import { type AxisLayout, axisRows, channelRows, PANEL, type Rows } from "./rows.ts";

/** Integers with the scale and zero point of each group. */
export interface Quantized {
  /** One integer per element, in the layout of the input. */
  readonly q: Int8Array | Uint8Array;
  readonly scale: Float32Array;
  readonly zero: Int8Array | Uint8Array;
}

function integers(signed: boolean, n: number): Int8Array | Uint8Array {
  return signed ? new Int8Array(n) : new Uint8Array(n);
}

/** Calls `quantize` for every row with its values and where its integers go; spread-out rows travel through a panel. */
function throughRows(
  x: Float32Array,
  q: Int8Array | Uint8Array,
  rows: Rows,
  quantize: (row: number, values: Float32Array, start: number, out: Int8Array | Uint8Array) => void,
): void {
  if (rows.contiguous) {
    for (let r = 0; r < rows.count; r++) quantize(r, x, r * rows.length, q);
    return;
  }
  const values = new Float32Array(PANEL * rows.length);
  const out = integers(q instanceof Int8Array, values.length);
  for (let first = 0; first < rows.count; ) {
    const n = rows.panel(first);
    rows.gather(x, first, n, values);
    for (let j = 0; j < n; j++) quantize(first + j, values, j * rows.length, out);
    rows.scatter(q, first, n, out);
    first += n;
  }
}

/**
 * One scale per index of an axis (a whole tensor is `outer` = `length` = 1). Symmetric weights per output channel are
 * the usual 8-bit format. `x` must be finite. `scale` and `zero` have one entry per index.
 */
export function quantizeChannels(x: Float32Array, layout: AxisLayout, options: QuantizeOptions): Quantized {
  const { grid } = options;
  const rows = channelRows(layout);
  const q = integers(grid.signed, x.length);
  const scale = new Float32Array(rows.count);
  const zero = integers(grid.signed, rows.count);
  const fit: Fit = { scale: 1, zero: 0 };
  throughRows(x, q, rows, (r, values, start, out) => {
    fitRow(fit, values, start, start + rows.length, options);
    quantizeRow(values, start, start + rows.length, fit, grid, out, start);
    scale[r] = fit.scale;
    zero[r] = fit.zero;
  });
  return { q, scale, zero };
}

/**
 * One scale per `block` consecutive elements along an axis, the layout of ONNX DequantizeLinear-21 with `block_size`:
 * `scale` and `zero` are `outer` × ceil(`length` / `block`) × `inner`. `x` must be finite.
 */
export function quantizeAxisBlocks(
  x: Float32Array,
  layout: AxisLayout,
  block: number,
  options: QuantizeOptions,
): Quantized {
  const { grid } = options;
  const { outer, length, inner } = layout;
  const rows = axisRows(layout);
  const blocks = Math.ceil(length / block);
  const q = integers(grid.signed, x.length);
  const scale = new Float32Array(outer * blocks * inner);
  const zero = integers(grid.signed, scale.length);
  const fit: Fit = { scale: 1, zero: 0 };
  throughRows(x, q, rows, (r, values, start, out) => {
    const base = Math.floor(r / inner) * blocks * inner + (r % inner);
    for (let b = 0; b < blocks; b++) {
      const from = start + b * block;
      const to = Math.min(start + length, from + block);
      fitRow(fit, values, from, to, options);
      quantizeRow(values, from, to, fit, grid, out, from);
      scale[base + b * inner] = fit.scale;
      zero[base + b * inner] = fit.zero;
    }
  });
  return { q, scale, zero };
}

/**
 * (q - zero) · scale for groups of `block` elements along an axis; one group per index of the axis when `block` is
 * `null`. A `null` zero is 0 everywhere.
 */
export function dequantizeGroups(
  q: Int8Array | Uint8Array,
  scale: Float32Array,
  zero: Int8Array | Uint8Array | null,
  { outer, length, inner }: AxisLayout,
  block: number | null,
): Float32Array {
  const out = new Float32Array(q.length);
  const blocks = block === null ? length : Math.ceil(length / block);
  for (let o = 0; o < outer; o++)
    for (let k = 0; k < length; k++) {
      const group = block === null ? k : (o * blocks + Math.floor(k / block)) * inner;
      const at = (o * length + k) * inner;
      for (let i = 0; i < inner; i++) {
        const g = block === null ? group : group + i;
        out[at + i] = (q[at + i]! - (zero === null ? 0 : zero[g]!)) * scale[g]!;
      }
    }
  return out;
}
