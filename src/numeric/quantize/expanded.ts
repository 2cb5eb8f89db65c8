/** Largest magnitude of a 4-bit weight on a symmetric grid. */
const LARGEST = 7;

/** Integer scales of blocks have 4 bits, and none is 0. */
const SCALES = 15;

/** Smallest unit: weights that need a finer one are as good as zero. */
const SMALLEST_UNIT = 2 ** -120;

/** One output channel on a grid that expands block by block: w ≈ q · scale[block] · unit. */
export interface Expanded {
  readonly unit: number;
  /** 1 to 15, one per block. */
  readonly scale: Uint8Array;
  /** −7 to 7. */
  readonly q: Int8Array;
}

function rounded(w: number, step: number): number {
  return Math.min(LARGEST, Math.max(-LARGEST, Math.round(w / step)));
}

/** Σ (ŵ − w)² of a block at a step. */
function errorAt(row: Float32Array, from: number, to: number, step: number): number {
  let sum = 0;
  for (let k = from; k < to; k++) sum += (rounded(row[k]!, step) * step - row[k]!) ** 2;
  return sum;
}

/**
 * Low-power block quantization (Qualcomm's blockwise expansion): 4-bit weights whose blocks have integer scales of one
 * single-precision unit, so that hardware multiplies integers only. At the largest scale the widest block just fits; every
 * block takes the scale with the least squared error of all fifteen, the smaller of equal ones. `block` divides the
 * row's length.
 */
export function expandBlocks(row: Float32Array, block: number): Expanded {
  const most = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const unit = most === 0 ? 1 : Math.fround(Math.max(most / (LARGEST * SCALES), SMALLEST_UNIT));
  const scale = new Uint8Array(row.length / block);
  const q = new Int8Array(row.length);
  for (let b = 0; b < scale.length; b++) {
    const [from, to] = [b * block, (b + 1) * block];
    let least = Number.POSITIVE_INFINITY;
    for (let s = 1; s <= SCALES; s++) {
      const error = errorAt(row, from, to, Math.fround(s * unit));
      if (error >= least) continue;
      least = error;
      scale[b] = s;
    }
    const step = Math.fround(scale[b]! * unit);
    for (let k = from; k < to; k++) q[k] = rounded(row[k]!, step);
  }
  return { unit, scale, q };
}
