import type { SparsePattern } from "./pattern.ts";

/** What importances are compared over: the whole matrix, or each row (band of rows that go together) for itself. */
export type Compare = "matrix" | "row";

/** Importance of every weight; inputs of one group of the pattern are neighbouring columns. */
export interface Scores {
  /** Row-major `rows` × `columns`; higher stays longer. */
  readonly values: Float64Array;
  readonly rows: number;
  readonly columns: number;
}

/** Marks the `count` lowest of `scores[from, to)` as zeros; ties go by position. */
function dropLowest(scores: Float64Array, out: Uint8Array, from: number, to: number, count: number): void {
  const order = Uint32Array.from({ length: to - from }, (_, i) => from + i);
  order.sort((a, b) => scores[a]! - scores[b]! || a - b);
  for (let i = 0; i < count; i++) out[order[i]!] = 0;
}

/** Sums of importances over the blocks of a pattern: bands × groups. */
function blockScores(s: Scores, { block }: SparsePattern): Scores {
  if (block.rows === 1 && block.inputs === 1) return s;
  const rows = s.rows / block.rows;
  const columns = s.columns / block.inputs;
  const values = new Float64Array(rows * columns);
  for (let r = 0; r < s.rows; r++)
    for (let c = 0; c < s.columns; c++)
      values[Math.floor(r / block.rows) * columns + Math.floor(c / block.inputs)]! +=
        s.values[r * s.columns + c]!;
  return { values, rows, columns };
}

/**
 * Which weights stay, 1, and which become zero, 0, by importance and pattern. `share` of the blocks go, rounded down;
 * `n:m` patterns ignore it. The matrix must fit the pattern.
 */
export function selectKept(s: Scores, pattern: SparsePattern, compare: Compare, share: number): Uint8Array {
  const b = blockScores(s, pattern);
  const kept = new Uint8Array(b.values.length).fill(1);
  const { among, block } = pattern;
  if (among !== null) {
    for (let at = 0; at < kept.length; at += among)
      dropLowest(b.values, kept, at, at + among, Math.floor(among * pattern.ratio));
  } else if (compare === "matrix")
    dropLowest(b.values, kept, 0, kept.length, Math.floor(share * kept.length));
  else
    for (let r = 0; r < b.rows; r++)
      dropLowest(b.values, kept, r * b.columns, (r + 1) * b.columns, Math.floor(share * b.columns));
  if (b === s) return kept;
  return Uint8Array.from({ length: s.values.length }, (_, i) => {
    const [r, c] = [Math.floor(i / s.columns), i % s.columns];
    return kept[Math.floor(r / block.rows) * b.columns + Math.floor(c / block.inputs)]!;
  });
}
