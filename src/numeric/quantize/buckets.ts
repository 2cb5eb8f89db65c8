/** A range that moves along an ordered trajectory, one positive number per call, and how much its losses weigh. */
export interface RangeSeries {
  readonly range: ArrayLike<number>;
  readonly weight: number;
}

/** Calls cut into consecutive buckets. */
export interface BucketChoice {
  /** First call of each bucket, ascending; the first is 0. */
  readonly starts: readonly number[];
  /**
   * Mean over calls and weights of ln(range of the bucket / range of the call): what a call loses when it shares the
   * widest range of its bucket, 0.69 for each bit.
   */
  readonly excess: number;
}

/** Ranges below this share of a series' largest count as this: a dead call must not decide every boundary. */
const LEAST_RANGE = 1e-4;

/** Logarithms of a series, floored; `null` where nothing can be lost. */
function logsOf({ range, weight }: RangeSeries): Float64Array | null {
  let most = 0;
  for (let t = 0; t < range.length; t++) most = Math.max(most, range[t]!);
  if (!(most > 0) || !(weight > 0)) return null;
  return Float64Array.from({ length: range.length }, (_, t) =>
    Math.log(Math.max(range[t]!, most * LEAST_RANGE)),
  );
}

/** `cost[i · calls + j]`: Σ weight · (ln of the widest of calls i..j − ln of each of them). */
function segmentCosts(series: readonly RangeSeries[], calls: number): Float64Array {
  const cost = new Float64Array(calls * calls);
  for (const s of series) {
    const logs = logsOf(s);
    if (logs === null) continue;
    for (let i = 0; i < calls; i++) {
      let widest = Number.NEGATIVE_INFINITY;
      let sum = 0;
      for (let j = i; j < calls; j++) {
        widest = Math.max(widest, logs[j]!);
        sum += logs[j]!;
        cost[i * calls + j] = cost[i * calls + j]! + s.weight * ((j - i + 1) * widest - sum);
      }
    }
  }
  return cost;
}

/**
 * Cuts a trajectory into at most `most` buckets whose calls share a range, at boundaries that all series share, so that
 * the least of the logarithm of the ranges is given away (dynamic programming over the last boundary, O(most · calls²)).
 * Takes the fewest buckets whose excess is within `tolerance`, else the best cut into `most`. Series have equal lengths of
 * at least 1.
 */
export function chooseBuckets(
  series: readonly RangeSeries[],
  o: { readonly calls: number; readonly most: number; readonly tolerance: number },
): BucketChoice {
  const { calls, tolerance } = o;
  const cost = segmentCosts(series, calls);
  const weight = series.reduce((sum, s) => sum + (logsOf(s) === null ? 0 : s.weight), 0);
  const excessOf = (total: number): number => (weight > 0 ? total / (weight * calls) : 0);
  const most = Math.max(1, Math.min(o.most, calls));
  // Row k: the least cost of the first calls in k + 1 buckets, and where the last of them starts.
  let row = Float64Array.from({ length: calls }, (_, j) => cost[j]!);
  const begins: Int32Array[] = [new Int32Array(calls)];
  while (excessOf(row[calls - 1]!) > tolerance && begins.length < most) {
    const next = new Float64Array(calls).fill(Number.POSITIVE_INFINITY);
    const begin = new Int32Array(calls);
    for (let j = begins.length; j < calls; j++)
      for (let i = begins.length; i <= j; i++) {
        const total = row[i - 1]! + cost[i * calls + j]!;
        if (total < next[j]!) [next[j], begin[j]] = [total, i];
      }
    row = next;
    begins.push(begin);
  }
  const starts: number[] = [];
  let end = calls - 1;
  for (let k = begins.length - 1; k >= 0; k--) {
    const start = begins[k]![end]!;
    starts.unshift(start);
    end = start - 1;
  }
  return { starts, excess: excessOf(row[calls - 1]!) };
}
