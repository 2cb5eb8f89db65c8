import { solverGrid } from "./multistep.ts";
import { cleanSample, combine, difference, impliedNoise, limitSample, type Numbers } from "./prediction.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** Solves a small dense system by Gaussian elimination with partial pivoting; both arguments are consumed. */
function solve(a: number[][], b: number[]): number[] {
  const n = b.length;
  for (let c = 0; c < n; c++) {
    let pivot = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(a[r]![c]!) > Math.abs(a[pivot]![c]!)) pivot = r;
    [a[c], a[pivot]] = [a[pivot]!, a[c]!];
    [b[c], b[pivot]] = [b[pivot]!, b[c]!];
    for (let r = c + 1; r < n; r++) {
      const f = a[r]![c]! / a[c]![c]!;
      for (let k = c; k < n; k++) a[r]![k]! -= f * a[c]![k]!;
      b[r]! -= f * b[c]!;
    }
  }
  for (let r = n - 1; r >= 0; r--) {
    for (let k = r + 1; k < n; k++) b[r]! -= a[r]![k]! * b[k]!;
    b[r]! /= a[r]![r]!;
  }
  return b;
}

/**
 * UniPC (Zhao et al. 2023, algorithms 1 to 3): a multistep predictor whose step the next model output corrects at no
 * extra call. `B(h)` is h (`bh1`) or e^h - 1 (`bh2`); works on the clean sample or, with `predict_x0` off, on the noise.
 */
export function unipc(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const g = solverGrid(config, options);
  const calls = g.timesteps.length;
  const limits = { ...config, clip_sample: false };
  const clean = config.predict_x0;

  /** Sample at grid point `to` from the one at `from`, older outputs and, when correcting, the output at `to`. */
  const advance = (
    x: Numbers,
    from: number,
    order: number,
    history: readonly Float64Array[],
    ahead: Float64Array | null,
  ): Float64Array => {
    const to = from + 1;
    const m0 = history[0]!;
    const h = g.lambda[to]! - g.lambda[from]!;
    if (h === 0) return Float64Array.from(x);
    const hh = clean ? -h : h;
    const growth = Math.expm1(hh);
    const base = config.solver_type === "bh1" ? hh : growth;
    const keep = clean ? g.sigma[to]! / g.sigma[from]! : g.alpha[to]! / g.alpha[from]!;
    const scale = clean ? g.alpha[to]! : g.sigma[to]!;

    const ratios: number[] = [];
    for (let k = 1; k < order; k++) ratios.push((g.lambda[from - k]! - g.lambda[from]!) / h);
    const terms: [number, Numbers][] = [
      [keep, x],
      [-scale * growth, m0],
    ];
    const weights = coefficients([...ratios, 1], hh, base, ahead !== null);
    for (const [k, r] of ratios.entries()) {
      terms.push([-scale * base * weights[k]!, difference(history[k + 1]!, m0, 1 / r)]);
    }
    if (ahead !== null) terms.push([-scale * base * weights[ratios.length]!, difference(ahead, m0, 1)]);
    return combine(x.length, ...terms);
  };

  return {
    sampler: "unipc",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps: g.timesteps,
    sigmas: g.sigmas,
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: () => false,
    scaleInput: (x) => Float32Array.from(x),
    start(batch = 1) {
      let history: Float64Array[] = [];
      let origin: Numbers | null = null;
      let order = 0;
      return {
        step(output, i, x) {
          const [alpha, sigma] = [g.alpha[i]!, g.sigma[i]!];
          const now = clean
            ? limitSample(cleanSample(config.prediction_type, output, x, alpha, sigma), limits, batch)
            : impliedNoise(config.prediction_type, output, x, alpha, sigma);
          const corrects = origin !== null && !config.disable_corrector.includes(i - 1);
          const start = corrects ? advance(origin!, i - 1, order, history, now) : x;
          history = [now, ...history].slice(0, config.solver_order);
          const left = config.lower_order_final ? calls - i : config.solver_order;
          order = Math.min(config.solver_order, left, i + 1);
          origin = start;
          return advance(start, i, order, history, null);
        },
      };
    },
  };
}

/**
 * Weights of the difference terms: the solution of the order conditions (equation 5 of the paper). The predictor leaves
 * the unknown last difference out; of order 2 both of its conditions agree on 1/2 up to the order, which is what is used.
 */
function coefficients(ratios: readonly number[], hh: number, base: number, correct: boolean): number[] {
  const n = ratios.length;
  if (correct ? n === 1 : n <= 2) return [0.5];
  const right: number[] = [];
  let phi = Math.expm1(hh) / hh - 1;
  let factorial = 1;
  for (let k = 1; k <= n; k++) {
    right.push((phi * factorial) / base);
    factorial *= k + 1;
    phi = phi / hh - 1 / factorial;
  }
  const size = correct ? n : n - 1;
  const matrix = Array.from({ length: size }, (_, k) => ratios.slice(0, size).map((r) => r ** k));
  return solve(matrix, right.slice(0, size));
}
