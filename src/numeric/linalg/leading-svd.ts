import { createRng } from "../rng.ts";
import { symmetricEigen } from "./eigen.ts";
import { type Matrix, matrix, multiply, selfProduct, turned } from "./gemm.ts";
import { orthonormalRows } from "./orthonormal.ts";
import type { TruncatedSvd } from "./svd.ts";

/** Matrices whose smaller side is at most this are decomposed whole. */
const SMALL = 320;

/** Directions sampled beyond those asked for. */
const OVERSAMPLE = 36;

/** How {@link leadingSvd} works. */
export interface LeadingSvdOptions {
  readonly rank: number;
  /** Power iterations, at least 1: each squares the ratio between wanted and unwanted values. Default 1. */
  readonly power?: number;
  /** Seed of the sampled directions. Default 0. */
  readonly seed?: number;
}

/** Singular triples of q·a, where q is orthonormal rows that the range of `a` is projected on; `null` stands for all of it. */
function fromProjection(q: Matrix | null, a: Matrix, rank: number): TruncatedSvd {
  const b = q === null ? a : matrix(multiply(q, a), q.rows, a.columns);
  const e = symmetricEigen(selfProduct(b), b.rows);
  const kept = Math.min(rank, b.rows);
  const vectors = matrix(e.vectors.slice(0, kept * b.rows), kept, b.rows);
  const left = q === null ? (vectors.data as Float64Array) : multiply(vectors, q);
  const right = multiply(vectors, b);
  const values = new Float64Array(kept);
  for (let i = 0; i < kept; i++) {
    const row = right.subarray(i * a.columns, (i + 1) * a.columns);
    let sum = 0;
    for (const x of row) sum += x * x;
    values[i] = Math.sqrt(sum);
    for (let j = 0; j < row.length; j++) row[j] = sum > 0 ? row[j]! / values[i]! : 0;
  }
  return { rank: kept, values, left, right };
}

const flip = (s: TruncatedSvd): TruncatedSvd => ({ ...s, left: s.right, right: s.left });

/** The smaller side of `a` is its rows. */
function wide(a: Matrix, o: Required<LeadingSvdOptions>): TruncatedSvd {
  const sampled = Math.min(a.rows, o.rank + OVERSAMPLE);
  if (a.rows <= SMALL || 2 * sampled > a.rows) return fromProjection(null, a, o.rank);
  const rng = createRng(o.seed, "leading-svd");
  const directions = Float64Array.from({ length: sampled * a.columns }, () => rng.normal());
  const at = turned(a);
  const basis = (rows: Float64Array, length: number): Matrix =>
    matrix(orthonormalRows(rows, sampled, length), sampled, length);
  let q = basis(multiply(matrix(directions, sampled, a.columns), at), a.rows);
  for (let i = 1; i < o.power; i++)
    q = basis(multiply(matrix(multiply(q, a), sampled, a.columns), at), a.rows);
  // The last half iteration goes to the longer side, whose basis is what `a` is projected on: a product less.
  return flip(fromProjection(basis(multiply(q, a), a.columns), at, o.rank));
}

/**
 * The largest singular triples of a matrix. Large matrices of which less than half the rank is wanted go through a
 * randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4): what is found
 * spans nearly the best subspace, and the product left·diag·right is its exact projection. Others are decomposed through
 * the Gram matrix of their smaller side. Vectors of vanishing values are zero. Equal inputs give equal bits.
 */
export function leadingSvd(a: Matrix, options: LeadingSvdOptions): TruncatedSvd {
  const o = { power: 1, seed: 0, ...options };
  return a.rows <= a.columns ? wide(a, o) : flip(wide(turned(a), o));
}
