/**
 * An output correction: `y = gain · x + offset[channel]`.
 *
 * - `ptqd` regresses the error on the true output (He et al. 2023, PTQD): x − e = k·e + μ + noise, then gain 1/(1+k) and
 *   offset −μ/(1+k). Unbiased: what is left of the error does not correlate with the output.
 * - `mmse` regresses the true output on the given one: least squared error, at the price of a smaller spread.
 */
export type Estimator = "ptqd" | "mmse";

/** A fitted correction. */
export interface AffineFit {
  readonly gain: number;
  /** One per channel. */
  readonly offset: Float64Array;
  /** Slope of the error on the true output; 0 when the error does not correlate with it. */
  readonly slope: number;
  /** Mean square of what the correction leaves, the variance a stochastic sampler may subtract from its own noise. */
  readonly residual: number;
}

/** Sums over pairs of a true output e and a given one x, per channel. Add up over samples; see {@link fitAffine}. */
export interface PairSums {
  /** Pairs per channel. */
  count: number;
  readonly e: Float64Array;
  readonly x: Float64Array;
  readonly ee: Float64Array;
  readonly xx: Float64Array;
  readonly ex: Float64Array;
}

/** Sums of nothing. */
export function pairSums(channels: number): PairSums {
  const zeros = (): Float64Array => new Float64Array(channels);
  return { count: 0, e: zeros(), x: zeros(), ee: zeros(), xx: zeros(), ex: zeros() };
}

/** Adds one sample; `inner` neighbouring elements share a channel before the next channel follows. */
export function addPairs(
  s: PairSums,
  truth: ArrayLike<number>,
  given: ArrayLike<number>,
  inner: number,
): void {
  const channels = s.e.length;
  s.count += truth.length / channels;
  for (let i = 0; i < truth.length; i++) {
    const c = Math.floor(i / inner) % channels;
    const [e, x] = [truth[i]!, given[i]!];
    s.e[c]! += e;
    s.x[c]! += x;
    s.ee[c]! += e * e;
    s.xx[c]! += x * x;
    s.ex[c]! += e * x;
  }
}

/** Sums of several groups of samples together. */
export function mergePairs(parts: readonly PairSums[]): PairSums {
  const out = pairSums(parts[0]?.e.length ?? 0);
  for (const p of parts) {
    out.count += p.count;
    for (const key of ["e", "x", "ee", "xx", "ex"] as const)
      for (const [c, v] of p[key].entries()) out[key][c]! += v;
  }
  return out;
}

/** Variances and covariance around the channel means, summed over channels. */
function centred(s: PairSums): { readonly ee: number; readonly xx: number; readonly ex: number } {
  let [ee, xx, ex] = [0, 0, 0];
  for (let c = 0; c < s.e.length; c++) {
    ee += s.ee[c]! - (s.e[c]! * s.e[c]!) / s.count;
    xx += s.xx[c]! - (s.x[c]! * s.x[c]!) / s.count;
    ex += s.ex[c]! - (s.e[c]! * s.x[c]!) / s.count;
  }
  return { ee, xx, ex };
}

/** Σ (gain·x + offset − e)² over the pairs behind the sums. */
export function errorAfter(s: PairSums, gain: number, offset: ArrayLike<number>): number {
  let sum = 0;
  for (let c = 0; c < s.e.length; c++) {
    const o = offset[c]!;
    sum += gain * gain * s.xx[c]! + s.ee[c]! + s.count * o * o;
    sum += 2 * gain * o * s.x[c]! - 2 * gain * s.ex[c]! - 2 * o * s.e[c]!;
  }
  return Math.max(0, sum);
}

/** The correction that leaves everything as it is. */
export function identityFit(channels: number): AffineFit {
  return { gain: 1, offset: new Float64Array(channels), slope: 0, residual: 0 };
}

/**
 * Fits one gain and an offset per channel. A constant or empty output, or one that runs against the true one, gives the
 * identity. `positive` keeps the slope of `ptqd` at 0 or more, as its authors do.
 */
export function fitAffine(s: PairSums, estimator: Estimator, positive = false): AffineFit {
  const { ee, xx, ex } = centred(s);
  if (!(s.count > 0 && ee > 0 && xx > 0 && ex > 0)) return identityFit(s.e.length);
  const raw = ex / ee - 1;
  const slope = positive ? Math.max(0, raw) : raw;
  const gain = estimator === "ptqd" ? 1 / (1 + slope) : ex / xx;
  const offset = s.e.map((e, c) => (e - gain * s.x[c]!) / s.count);
  return { gain, offset, slope, residual: errorAfter(s, gain, offset) / (s.count * s.e.length) };
}
