import { cholesky } from "../linalg/cholesky.ts";
import { block, matrix, multiply, turned } from "../linalg/gemm.ts";
import { leadingSvd } from "../linalg/leading-svd.ts";
import { solveRowsUpper } from "../linalg/triangular.ts";
import { damped } from "../quantize/damped.ts";

/** Share of the mean diagonal that keeps second moments of a head factorable; full rank stays exact whatever it is. */
const DAMP = 1e-6;

/** A projection into heads: `heads·width` rows, each head's rows together. */
export interface Projection {
  readonly weights: Float64Array;
  /** One number per row; `null` without a bias. */
  readonly bias: Float64Array | null;
  /** Mean of x·xᵀ and of x over its inputs; `null` counts all inputs alike and leaves their mean out. */
  readonly inputs: { readonly gram: Float64Array; readonly mean: Float64Array } | null;
}

/** Narrower heads: rows of the new projection, and its bias. */
export interface Narrowed {
  readonly weights: Float64Array;
  readonly bias: Float64Array | null;
}

/** Mean of y·yᵀ of the outputs of one head, row-major `width` × `width`, from the head's rows. */
function secondMoment(p: Projection, from: number, width: number, columns: number): Float64Array {
  const w = block(matrix(p.weights, p.weights.length / columns, columns), from, from + width, 0, columns);
  const seen =
    p.inputs === null ? w : matrix(multiply(w, matrix(p.inputs.gram, columns, columns)), width, columns);
  const out = multiply(seen, turned(w));
  if (p.bias === null) return out;
  const b = p.bias.subarray(from, from + width);
  const mean = p.inputs === null ? new Float64Array(width) : multiply(w, matrix(p.inputs.mean, columns, 1));
  for (let i = 0; i < width; i++)
    for (let j = 0; j < width; j++)
      out[i * width + j]! += mean[i]! * b[j]! + b[i]! * mean[j]! + b[i]! * b[j]!;
  return out;
}

function root(moment: Float64Array, width: number): Float64Array {
  const l = cholesky(damped(moment, width, DAMP), width);
  if (l === null) throw new Error("the second moments of a head cannot be factored");
  return l;
}

/** Writes basis · rows of a head into the narrower projection. */
function project(
  p: Projection,
  into: Narrowed,
  basis: Float64Array,
  at: { head: number; rank: number; width: number; columns: number },
): void {
  const { head, rank, width, columns } = at;
  const t = matrix(basis, rank, width);
  const from = head * width;
  const rows = block(matrix(p.weights, p.weights.length / columns, columns), from, from + width, 0, columns);
  into.weights.set(multiply(t, rows), head * rank * columns);
  if (p.bias !== null && into.bias !== null)
    into.bias.set(multiply(t, matrix(p.bias.subarray(from, from + width), width, 1)), head * rank);
}

const empty = (p: Projection, outputs: number, columns: number): Narrowed => ({
  weights: new Float64Array(outputs * columns),
  bias: p.bias === null ? null : new Float64Array(outputs),
});

/** What heads are made of. */
export interface HeadSizes {
  readonly heads: number;
  readonly width: number;
  readonly rank: number;
}

/**
 * Queries and keys of fewer dimensions whose scores differ least. With q = Lq·u, k = Lk·v and u, v white, a score is
 * uᵀ·Lqᵀ·Lk·v: the SVD of that small matrix gives bases of both sides. Biases are part of q and k, so they fold
 * exactly. `spectrum` is the energy of the scores per dimension, summed over heads, queries and keys being independent.
 */
export function narrowScores(
  q: Projection,
  k: Projection,
  { heads, width, rank }: HeadSizes,
): { readonly q: Narrowed; readonly k: Narrowed; readonly spectrum: Float64Array } {
  const columns = { q: q.weights.length / (heads * width), k: k.weights.length / (heads * width) };
  const out = { q: empty(q, heads * rank, columns.q), k: empty(k, heads * rank, columns.k) };
  const spectrum = new Float64Array(width);
  for (let h = 0; h < heads; h++) {
    const lq = root(secondMoment(q, h * width, width, columns.q), width);
    const lk = root(secondMoment(k, h * width, width, columns.k), width);
    const svd = leadingSvd(
      matrix(multiply(turned(matrix(lq, width, width)), matrix(lk, width, width)), width, width),
      {
        rank: width,
      },
    );
    for (let i = 0; i < width; i++) spectrum[i]! += svd.values[i]! ** 2;
    for (const [p, into, l, vectors, c] of [
      [q, out.q, lq, svd.left, columns.q],
      [k, out.k, lk, svd.right, columns.k],
    ] as const) {
      const basis = vectors.slice(0, rank * width);
      for (let i = 0; i < rank; i++)
        for (let j = 0; j < width; j++) basis[i * width + j]! *= Math.sqrt(svd.values[i]!);
      solveRowsUpper(l, width, basis, rank);
      project(p, into, basis, { head: h, rank, width, columns: c });
    }
  }
  return { ...out, spectrum };
}

/** Reads a matrix with a row per head dimension: what the joined heads are multiplied by, `heads·width` × `outputs`. */
export interface OutputProjection {
  readonly weights: Float64Array;
  /** Mean of x·xᵀ over the joined heads; `null` counts all alike. */
  readonly gram: Float64Array | null;
}

function gramBlock(gram: Float64Array | null, size: number, from: number, width: number): Float64Array {
  const out = new Float64Array(width * width);
  for (let i = 0; i < width; i++)
    for (let j = 0; j < width; j++)
      out[i * width + j] = gram === null ? (i === j ? 1 : 0) : gram[(from + i) * size + from + j]!;
  return out;
}

/**
 * Values of fewer dimensions and the output projection that reads them: per head the best projection of that rank for
 * the second moments of what attention hands on. Mixing positions commutes with mixing dimensions, so a basis moves
 * from one side of the softmax to the other.
 */
export function narrowValues(
  v: Projection,
  o: OutputProjection,
  { heads, width, rank }: HeadSizes,
): {
  readonly v: Narrowed;
  readonly o: Float64Array;
  readonly stands: Float64Array;
  readonly spectrum: Float64Array;
} {
  const size = heads * width;
  const [columns, outputs] = [v.weights.length / size, o.weights.length / size];
  const narrow = empty(v, heads * rank, columns);
  const after = new Float64Array(heads * rank * outputs);
  const stands = new Float64Array(o.weights.length);
  const spectrum = new Float64Array(width);
  for (let h = 0; h < heads; h++) {
    const l = root(gramBlock(o.gram, size, h * width, width), width);
    const rows = block(matrix(o.weights, size, outputs), h * width, (h + 1) * width, 0, outputs);
    const svd = leadingSvd(matrix(multiply(turned(matrix(l, width, width)), rows), width, outputs), {
      rank: Math.min(width, outputs),
    });
    for (let i = 0; i < svd.rank; i++) spectrum[i]! += svd.values[i]! ** 2;
    const basis = svd.left.slice(0, rank * width);
    solveRowsUpper(l, width, basis, rank);
    const second = new Float64Array(rank * outputs);
    for (let i = 0; i < Math.min(rank, svd.rank); i++)
      for (let n = 0; n < outputs; n++)
        second[i * outputs + n] = svd.values[i]! * svd.right[i * outputs + n]!;
    project(v, narrow, basis, { head: h, rank, width, columns });
    after.set(second, h * rank * outputs);
    stands.set(
      multiply(turned(matrix(basis, rank, width)), matrix(second, rank, outputs)),
      h * width * outputs,
    );
  }
  return { v: narrow, o: after, stands, spectrum };
}
