import { packBits } from "../bits.ts";
import { f32ToMini, miniToF32 } from "../minifloat.ts";

/** Largest finite number of E4M3FN. */
export const F8_MAX = 448;
/** Largest number of E2M1. */
const F4_MAX = 6;

/** NVFP4 shares a scale between this many numbers. */
export const NVFP4_BLOCK = 16;

/** Code of the smallest E4M3FN number above 0, 2^−9. */
const SMALLEST_F8 = 1;

/** Codes of one byte with a float32 scale per row: w ≈ value(code) · scale. */
export interface Float8Rows {
  /** E4M3FN, `rows` × `columns`. */
  readonly codes: Uint8Array;
  readonly scale: Float32Array;
}

function largest(x: Float32Array): number {
  let max = 0;
  for (const v of x) if (Math.abs(v) > max) max = Math.abs(v);
  return max;
}

/** FP8 weights (E4M3FN, OCP 8-bit floating point, 2023): each row is scaled so that its largest magnitude is 448. */
export function float8Rows(x: Float32Array, rows: number): Float8Rows {
  const columns = x.length / rows;
  const scale = new Float32Array(rows);
  const codes = new Uint8Array(x.length);
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * columns, (r + 1) * columns);
    const max = largest(row);
    scale[r] = max > 0 ? max / F8_MAX : 1;
    codes.set(
      f32ToMini(
        "f8e4m3fn",
        row.map((v) => v / scale[r]!),
      ),
      r * columns,
    );
  }
  return { codes, scale };
}

/** NVFP4: E2M1 numbers in blocks of 16 along a row, an E4M3FN scale per block, one float32 scale for the tensor. */
export interface Nvfp4 {
  /** Two numbers to a byte, the first in the low half, dense over the tensor as ONNX stores FLOAT4E2M1. */
  readonly packed: Uint8Array;
  /** E4M3FN codes, `rows` × ceil(columns / 16). */
  readonly scales: Uint8Array;
  readonly global: number;
}

/**
 * NVFP4 weights (NVIDIA Blackwell; TensorRT's two-level block quantization): w ≈ e2m1 · e4m3 · global. The global scale
 * makes the largest block scale 448, each block scale then makes its largest magnitude 6. No block scale is 0: compilers
 * refuse such scales, and what the smallest one leaves is zero anyway.
 */
export function nvfp4(x: Float32Array, rows: number): Nvfp4 {
  const columns = x.length / rows;
  const blocks = Math.ceil(columns / NVFP4_BLOCK);
  const max = largest(x);
  const global = max > 0 ? Math.fround(max / (F4_MAX * F8_MAX)) : 1;
  const scales = new Uint8Array(rows * blocks);
  const codes = new Uint8Array(x.length);
  for (let r = 0; r < rows; r++)
    for (let b = 0; b < blocks; b++) {
      const from = r * columns + b * NVFP4_BLOCK;
      const block = x.subarray(from, Math.min((r + 1) * columns, from + NVFP4_BLOCK));
      const [wanted] = f32ToMini("f8e4m3fn", Float32Array.of(largest(block) / F4_MAX / global));
      const code = Math.max(SMALLEST_F8, wanted!);
      const unit = Math.fround(miniToF32("f8e4m3fn", Uint8Array.of(code))[0]! * global);
      scales[r * blocks + b] = code;
      codes.set(
        f32ToMini(
          "f4e2m1",
          block.map((v) => v / unit),
        ),
        from,
      );
    }
  return { packed: packBits(codes, 4), scales, global };
}
