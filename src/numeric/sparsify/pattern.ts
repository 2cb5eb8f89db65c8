/** Names of the patterns zeros can follow. */
export const PATTERNS = ["unstructured", "2:4", "4:8", "1x4", "16x1"] as const;

/** `unstructured`: anywhere; `n:m`: n zeros among m neighbouring inputs; `RxC`: blocks of R outputs and C inputs. */
export type PatternName = (typeof PATTERNS)[number];

/** Where zeros may lie and how many there are. */
export interface SparsePattern {
  /** Outputs and neighbouring inputs that are zero together. */
  readonly block: { readonly rows: number; readonly inputs: number };
  /** Inputs among which a fixed number is zero, `null` where zeros are counted over everything compared. */
  readonly among: number | null;
  /** Share of zeros. */
  readonly ratio: number;
}

const BLOCKS: Readonly<Record<PatternName, Omit<SparsePattern, "ratio">>> = {
  unstructured: { block: { rows: 1, inputs: 1 }, among: null },
  "2:4": { block: { rows: 1, inputs: 1 }, among: 4 },
  "4:8": { block: { rows: 1, inputs: 1 }, among: 8 },
  "1x4": { block: { rows: 1, inputs: 4 }, among: null },
  "16x1": { block: { rows: 16, inputs: 1 }, among: null },
};

/** The pattern of a name; `n:m` patterns are half zeros whatever `ratio` says. */
export function patternOf(name: PatternName, ratio: number): SparsePattern {
  const p = BLOCKS[name];
  return { ...p, ratio: p.among === null ? ratio : 0.5 };
}

/** Neighbouring inputs that are decided on together. */
export function groupOf(p: SparsePattern): number {
  return p.among ?? p.block.inputs;
}

/** Why a matrix cannot take a pattern; `null` when it can. `channels` are inputs before a kernel's taps are unfolded. */
export function misfit(p: SparsePattern, rows: number, channels: number): string | null {
  const group = groupOf(p);
  if (channels % group !== 0) return `its ${channels} input channels do not divide into groups of ${group}`;
  if (rows % p.block.rows !== 0) return `its ${rows} outputs do not divide into groups of ${p.block.rows}`;
  return null;
}

/**
 * Columns of an unfolded weight (channel slowest, `taps` per channel) so that inputs of one group, the same tap of
 * neighbouring channels, follow each other: 2:4 counts along input channels, tap by tap.
 */
export function groupedOrder(columns: number, taps: number, group: number): Int32Array {
  const out = new Int32Array(columns);
  if (group === 1) return out.map((_, i) => i);
  let at = 0;
  for (let c = 0; c < columns; c += group * taps)
    for (let t = 0; t < taps; t++) for (let i = 0; i < group; i++) out[at++] = c + i * taps + t;
  return out;
}
