import { cholesky } from "../linalg/cholesky.ts";
import { symmetricEigenvalues } from "../linalg/eigen.ts";
import { matrix, multiply, selfProduct } from "../linalg/gemm.ts";
import { leadingSvd } from "../linalg/leading-svd.ts";
import { transposed } from "../linalg/product.ts";
import { solveRows, solveRowsUpper } from "../linalg/triangular.ts";
import { damped } from "../quantize/damped.ts";
import { type Weighing, whitenerOf } from "./weighing.ts";

/** A convolution's weight, row-major [outputs, channels, taps], and how its errors count. */
export interface TuckerProblem {
  readonly weights: Float32Array;
  readonly outputs: number;
  readonly channels: number;
  readonly taps: number;
  /**
   * `null`: all inputs alike. Of `channels` rows: the covariance of the channels, for every tap. Of channels·taps rows:
   * the Gram matrix of patches, channel slowest.
   */
  readonly weighing: Weighing | null;
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
}

/** Ranks of the two modes. */
export interface TuckerRanks {
  readonly input: number;
  readonly output: number;
}

/** w[n, c, t] ≈ Σ output[n, a]·core[a, b, t]·input[b, c]. */
export interface TuckerFactors {
  readonly ranks: TuckerRanks;
  /** input rank × channels. */
  readonly input: Float64Array;
  /** output rank × input rank × taps. */
  readonly core: Float64Array;
  /** outputs × output rank. */
  readonly output: Float64Array;
}

/** Alternations between the two modes after the first guess; a third changes the error by less than 0.1 %. */
const SWEEPS = 2;

/** [a, b, c] → [b, a, c]. */
function exchange(x: Float64Array | Float32Array, a: number, b: number, c: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) {
      const [from, to] = [(i * b + j) * c, (j * a + i) * c];
      for (let k = 0; k < c; k++) out[to + k] = x[from + k]!;
    }
  return out;
}

/** Mean over taps of the Gram matrix of patches: what channels do together under one tap. */
export function channelCovariance(gram: Float64Array, channels: number, taps: number): Float64Array {
  const size = channels * taps;
  const out = new Float64Array(channels * channels);
  for (let c = 0; c < channels; c++)
    for (let d = 0; d < channels; d++) {
      let sum = 0;
      for (let t = 0; t < taps; t++) sum += gram[(c * taps + t) * size + d * taps + t]!;
      out[c * channels + d] = sum / taps;
    }
  return out;
}

/** The weighing of channels that a problem comes to. */
function byChannel({ weighing, channels, taps }: TuckerProblem): Weighing | null {
  if (weighing === null || weighing.size === channels) return weighing;
  return { gram: channelCovariance(weighing.gram, channels, taps), size: channels };
}

/** The weight with its channels weighed, once per mode: [outputs, taps·channels] and [channels, outputs·taps]. */
function weighed(p: TuckerProblem) {
  const { outputs, channels, taps } = p;
  const whitener = whitenerOf(byChannel(p), p.damp);
  // Channels fastest, as the whitener wants them.
  const last = new Float64Array(p.weights.length);
  for (let n = 0; n < outputs; n++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps; t++)
        last[(n * taps + t) * channels + c] = p.weights[(n * channels + c) * taps + t]!;
  const byOutput = whitener.whiten(matrix(last, outputs * taps, channels));
  return { whitener, byOutput, byInput: transposed(byOutput, outputs * taps, channels) };
}

/** Squared singular values of both modes of the weighed weight, descending: tails bound the error of ranks. */
export function tuckerSpectra(p: TuckerProblem): {
  readonly input: Float64Array;
  readonly output: Float64Array;
} {
  const { byOutput, byInput } = weighed(p);
  const { outputs, channels, taps } = p;
  const values = (x: Float64Array, rows: number, columns: number): Float64Array =>
    symmetricEigenvalues(selfProduct(matrix(x, rows, columns)), rows).map((v) => Math.max(0, v));
  return {
    input: values(byInput, channels, outputs * taps),
    output: values(byOutput, outputs, taps * channels),
  };
}

/** Orthonormal bases of both modes: HOSVD, then alternation (HOOI, De Lathauwer and others 2000). */
function bases(p: TuckerProblem, ranks: TuckerRanks, sweeps: number) {
  const { outputs, channels, taps } = p;
  const { whitener, byOutput, byInput } = weighed(p);
  const leading = (x: Float64Array, rows: number, rank: number): Float64Array =>
    leadingSvd(matrix(x, rows, x.length / rows), { rank }).left;
  let input = leading(byInput, channels, ranks.input);
  let output = leading(byOutput, outputs, ranks.output);
  const project = (basis: Float64Array, rank: number, x: Float64Array): Float64Array => {
    const length = basis.length / rank;
    return multiply(matrix(basis, rank, length), matrix(x, length, x.length / length));
  };
  for (let s = 0; s < sweeps; s++) {
    // [input rank, outputs, taps] with outputs in front, then the same of the other mode.
    output = leading(
      exchange(project(input, ranks.input, byInput), ranks.input, outputs, taps),
      outputs,
      ranks.output,
    );
    const seen = project(output, ranks.output, byOutput);
    input = leading(transposed(seen, ranks.output * taps, channels), channels, ranks.input);
  }
  const core = exchange(
    project(
      input,
      ranks.input,
      transposed(project(output, ranks.output, byOutput), ranks.output * taps, channels),
    ),
    ranks.input,
    ranks.output,
    taps,
  );
  whitener.restore(input);
  return { input, output: transposed(output, ranks.output, outputs), core };
}

/** basis · x over the channels of [channels, taps, columns], as [input rank, taps, columns]. */
function overChannels(basis: Float64Array, channels: number, x: Float64Array): Float64Array {
  return multiply(matrix(basis, basis.length / channels, channels), matrix(x, channels, x.length / channels));
}

/**
 * The best outer factor and core for a given inner factor and the Gram matrix of patches: reduced-rank regression of
 * the layer's outputs on what the inner factor lets through (Izenman 1975).
 */
function regressed(
  p: TuckerProblem,
  input: Float64Array,
  ranks: TuckerRanks,
  gram: Float64Array,
): TuckerFactors {
  const { outputs, channels, taps } = p;
  const size = channels * taps;
  const inner = ranks.input * taps;
  const h = damped(gram, size, p.damp);
  // Pᵀ·h·P for P = inputᵀ ⊗ taps, one side after the other.
  const half = transposed(overChannels(input, channels, h), inner, size);
  const seen = overChannels(input, channels, half);
  const l = cholesky(damped(seen, inner, 1e-9), inner);
  if (l === null) throw new Error("the Gram matrix behind the inner factor cannot be factored");
  const a = multiply(matrix(p.weights, outputs, size), matrix(half, size, inner));
  solveRows(l, inner, a, outputs);
  const svd = leadingSvd(matrix(a, outputs, inner), { rank: ranks.output });
  const core = svd.right;
  solveRowsUpper(l, inner, core, svd.rank);
  const output = transposed(svd.left, svd.rank, outputs);
  for (let n = 0; n < outputs; n++)
    for (let i = 0; i < svd.rank; i++) output[n * svd.rank + i]! *= svd.values[i]!;
  return { ranks, input, core, output };
}

/** Scales neighbouring factors so that their mean squares agree and half precision holds all of them. */
function levelled(f: TuckerFactors): TuckerFactors {
  const rms = (x: Float64Array): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length);
  const sizes = [rms(f.input), rms(f.core), rms(f.output)];
  if (sizes.some((s) => !(s > 0))) return f;
  const even = Math.cbrt(sizes[0]! * sizes[1]! * sizes[2]!);
  const scaled = (x: Float64Array, by: number): Float64Array => x.map((v) => v * by);
  return {
    ...f,
    input: scaled(f.input, even / sizes[0]!),
    core: scaled(f.core, even / sizes[1]!),
    output: scaled(f.output, even / sizes[2]!),
  };
}

/**
 * A convolution as 1×1 · k×k · 1×1 (Tucker-2, Kim et al., arXiv:1511.06530). Without a weighing the bases are those of the
 * plain HOSVD. With one, channels are whitened by their covariance before and un-whitened after it, and the bases
 * alternate; where the Gram matrix of patches is known, the core and the outer factor are then fitted to it.
 */
export function tuckerFactors(p: TuckerProblem, ranks: TuckerRanks): TuckerFactors {
  const found = bases(p, ranks, p.weighing === null ? 0 : SWEEPS);
  const full = p.weighing !== null && p.taps > 1 && p.weighing.size === p.channels * p.taps;
  return levelled(full ? regressed(p, found.input, ranks, p.weighing.gram) : { ranks, ...found });
}

/** The weight that factors stand for, [outputs, channels, taps]. */
export function tuckerProduct(f: TuckerFactors, channels: number, taps: number): Float64Array {
  const { input, output } = f.ranks;
  // [input rank, output rank, taps] → [channels, output rank, taps] → [output rank, channels·taps].
  const inner = multiply(
    matrix(transposed(f.input, input, channels), channels, input),
    matrix(exchange(f.core, output, input, taps), input, output * taps),
  );
  const rows = exchange(inner, channels, output, taps);
  return multiply(matrix(f.output, f.output.length / output, output), matrix(rows, output, channels * taps));
}
