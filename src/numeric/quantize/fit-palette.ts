import { roundF16 } from "../f16.ts";
import { type LayerError, layerError } from "./error.ts";
import { errorFeedback, type FactorOptions, factorGram } from "./feedback.ts";
import { roundScale } from "./grid.ts";
import { weightedPalette } from "./palette.ts";
import type { BlockProblem } from "./problem.ts";
import { importanceOf } from "./weighted.ts";

/** Which weights share a codebook; 0 stands for all. */
export interface PaletteGroups {
  /** Rows of the matrix. */
  readonly rows: number;
  /** Neighbouring columns. */
  readonly columns: number;
}

/** A weight as entries of the codebook of its group, each row with a scale: ŵ = codebook[index] · scale. */
export interface FittedPalette {
  /** Group after group, bands of rows slowest; ascending in each, in half precision. */
  readonly codebook: Float32Array;
  /** `rows` × `columns`, each within the codebook of its group. */
  readonly indices: Uint8Array;
  /** One per row, in half precision. */
  readonly scale: Float32Array;
  readonly approximation: Float64Array;
  readonly error: LayerError;
}

/** Values from which on a codebook is made of the means of this many narrow bins. */
const MANY = 1 << 16;
const BINS = 1 << 13;

/** Weighted means and weights of narrow bins over the range of the values. */
function binned(x: Float64Array, weight: Float64Array): { x: Float64Array; weight: Float64Array } {
  let [min, max] = [x[0]!, x[0]!];
  for (const v of x) {
    if (v < min) min = v;
    if (v > max) max = v;
  }
  const sums = new Float64Array(BINS);
  const weights = new Float64Array(BINS);
  const unit = max > min ? BINS / (max - min) : 0;
  for (let i = 0; i < x.length; i++) {
    const b = Math.min(BINS - 1, Math.floor((x[i]! - min) * unit));
    sums[b]! += weight[i]! * x[i]!;
    weights[b]! += weight[i]!;
  }
  const full = Array.from(weights.keys()).filter((b) => weights[b]! > 0);
  return {
    x: Float64Array.from(full, (b) => sums[b]! / weights[b]!),
    weight: Float64Array.from(full, (b) => weights[b]!),
  };
}

/** Index within codebook[from, from + size) of the entry nearest to a value; the lower one of two. */
function nearestEntry(codebook: Float32Array, from: number, size: number, v: number): number {
  let lo = from;
  let hi = from + size - 1;
  while (hi - lo > 1) {
    const middle = (lo + hi) >> 1;
    if (codebook[middle]! <= v) lo = middle;
    else hi = middle;
  }
  return (v - codebook[lo]! <= codebook[hi]! - v ? lo : hi) - from;
}

/** Share of zeros from which on zero is an entry of every codebook and zeros stay zero. */
const SPARSE = 0.1;

/** Where groups lie. */
interface Layout {
  readonly across: number;
  readonly count: number;
  of(r: number, column: number): number;
}

/** Groups of a matrix of some size. */
function layoutOf({ rows, columns }: Pick<BlockProblem, "rows" | "columns">, groups: PaletteGroups): Layout {
  const height = groups.rows === 0 ? rows : groups.rows;
  const width = groups.columns === 0 ? columns : groups.columns;
  const across = Math.ceil(columns / width);
  return {
    across,
    count: Math.ceil(rows / height) * across,
    of: (r, column) => Math.floor(r / height) * across + Math.floor(column / width),
  };
}

/** How many codebooks a matrix has. */
export function codebooksOf(size: Pick<BlockProblem, "rows" | "columns">, groups: PaletteGroups): number {
  return layoutOf(size, groups).count;
}

/** The best codebook of some values, zero among them where `sparse`. */
function codebookOf(x: Float64Array, weight: Float64Array, size: number, sparse: boolean): Float32Array {
  const values = x.length > MANY ? binned(x, weight) : { x, weight };
  const found = weightedPalette(values.x, values.weight, sparse ? size - 1 : size).codebook;
  return Float32Array.from(sparse ? [...found, 0] : found, roundF16).sort();
}

/**
 * Weights clustered into `size` values (Han et al., arXiv:1510.00149): rows are scaled to unit size, a codebook is made
 * for every group with the diagonal of the Gram matrix as weights, and entries are chosen with error feedback. Without a
 * Gram matrix every weight takes the nearest entry. A weight of which a tenth is zero keeps its zeros.
 */
export function fitPalette(
  p: BlockProblem,
  size: number,
  options: FactorOptions & { readonly groups: PaletteGroups },
): FittedPalette {
  const { rows, columns, weights } = p;
  const importance = importanceOf(p);
  const layout = layoutOf(p, options.groups);
  const zeros = weights.reduce((n, w) => n + (w === 0 ? 1 : 0), 0);
  const sparse = zeros >= SPARSE * weights.length && size > 1;
  const scale = new Float32Array(rows);
  const members = Array.from({ length: layout.count }, () => ({ x: [] as number[], weight: [] as number[] }));
  for (let r = 0; r < rows; r++) {
    const at = r * columns;
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += weights[at + i]! ** 2;
    const s = sum > 0 ? roundScale(Math.sqrt(sum / columns), "f16") : 1;
    scale[r] = s;
    for (let i = 0; i < columns; i++) {
      if (sparse && weights[at + i] === 0) continue;
      const group = members[layout.of(r, i)]!;
      group.x.push(weights[at + i]! / s);
      group.weight.push(s * s * importance[i]!);
    }
  }
  const codebook = new Float32Array(layout.count * size);
  for (const [g, { x, weight }] of members.entries())
    codebook.set(codebookOf(Float64Array.from(x), Float64Array.from(weight), size, sparse), g * size);
  const indices = new Uint8Array(rows * columns);
  const approximation = new Float64Array(rows * columns);
  const choose = (r: number, column: number, target: number): number => {
    const at = r * columns + column;
    const from = layout.of(r, column) * size;
    const aim = sparse && weights[at] === 0 ? 0 : target / scale[r]!;
    const index = nearestEntry(codebook, from, size, aim);
    indices[at] = index;
    approximation[at] = Math.fround(codebook[from + index]! * scale[r]!);
    return approximation[at]!;
  };
  if (p.gram === null)
    for (let i = 0; i < weights.length; i++) choose(Math.floor(i / columns), i % columns, weights[i]!);
  else {
    const factored = factorGram(p.gram, columns, options);
    errorFeedback(p, factored, { choose: (_s, r, _j, column, target) => choose(r, column, target) });
  }
  return { codebook, indices, scale, approximation, error: layerError(weights, approximation, p) };
}
