/** A codebook in ascending order and which entry each value takes. */
export interface Palette {
  readonly codebook: Float64Array;
  readonly indices: Uint8Array;
  /** Σ weight·(x - entry)². */
  readonly noise: number;
}

/** Running sums of sorted values, so that the cost of a run of them takes constant time. */
interface Sums {
  readonly weight: Float64Array;
  readonly first: Float64Array;
  readonly second: Float64Array;
}

/** Least Σ w·(x - c)² over one entry c for the sorted values [from, to). */
function runCost(s: Sums, from: number, to: number): number {
  const w = s.weight[to]! - s.weight[from]!;
  if (w <= 0) return 0;
  const m = s.first[to]! - s.first[from]!;
  return Math.max(0, s.second[to]! - s.second[from]! - (m * m) / w);
}

/** Fills costs of splits of the first [lo, hi] values, whose last runs start between `left` and `right`. */
function layer(
  s: Sums,
  before: Float64Array,
  now: Float64Array,
  starts: Int32Array,
  span: { lo: number; hi: number; left: number; right: number },
): void {
  const { lo, hi, left, right } = span;
  if (lo > hi) return;
  const middle = (lo + hi) >> 1;
  let best = Number.POSITIVE_INFINITY;
  let at = left;
  for (let j = left; j <= Math.min(middle, right); j++) {
    const cost = before[j]! + runCost(s, j, middle);
    if (cost < best) {
      best = cost;
      at = j;
    }
  }
  now[middle] = best;
  starts[middle] = at;
  layer(s, before, now, starts, { lo, hi: middle - 1, left, right: at });
  layer(s, before, now, starts, { lo: middle + 1, hi, left: at, right });
}

/**
 * The codebook of `size` entries with the least weighted squared error, exactly: one-dimensional k-means by dynamic
 * programming over the sorted values (Wang and Song 2011), with the monotone split points found by divide and conquer.
 * O(size · n log n). `weight` is not negative; `size` is at most 256.
 */
export function weightedPalette(x: Float64Array, weight: Float64Array, size: number): Palette {
  const n = x.length;
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => x[a]! - x[b]! || a - b);
  const s: Sums = {
    weight: new Float64Array(n + 1),
    first: new Float64Array(n + 1),
    second: new Float64Array(n + 1),
  };
  for (let i = 0; i < n; i++) {
    const v = x[order[i]!]!;
    const w = weight[order[i]!]!;
    s.weight[i + 1] = s.weight[i]! + w;
    s.first[i + 1] = s.first[i]! + w * v;
    s.second[i + 1] = s.second[i]! + w * v * v;
  }
  let before = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY);
  before[0] = 0;
  const starts: Int32Array[] = [];
  for (let k = 0; k < size; k++) {
    const now = new Float64Array(n + 1);
    const from = new Int32Array(n + 1);
    layer(s, before, now, from, { lo: 0, hi: n, left: 0, right: n });
    starts.push(from);
    before = now;
  }
  const codebook = new Float64Array(size);
  const indices = new Uint8Array(n);
  for (let k = size - 1, end = n; k >= 0; k--) {
    const from = starts[k]![end]!;
    const w = s.weight[end]! - s.weight[from]!;
    const plain = end > from ? x[order[from]!]! : (codebook[k + 1] ?? 0);
    codebook[k] = w > 0 ? (s.first[end]! - s.first[from]!) / w : plain;
    for (let i = from; i < end; i++) indices[order[i]!] = k;
    end = from;
  }
  return { codebook, indices, noise: before[n]! };
}
