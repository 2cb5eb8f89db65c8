/** An array seen from one axis: `outer` × `length` × `inner`, row-major. */
export interface AxisLayout {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
}

/** Rows gathered at a time: 16 float32 are one cache line, so strided reads use all they fetch. */
export const PANEL = 16;

type Numbers = Float32Array | Int8Array | Uint8Array;

/**
 * The entries of an array regrouped into rows. `gather` copies `count` rows from `first` on behind each other;
 * `scatter` puts them back. Rows that lie contiguously anyway need neither.
 */
export interface Rows {
  readonly count: number;
  readonly length: number;
  readonly contiguous: boolean;
  /** Rows that may be gathered together starting at `first`. */
  panel(first: number): number;
  gather(x: Numbers, first: number, count: number, into: Numbers): void;
  scatter(x: Numbers, first: number, count: number, from: Numbers): void;
}

/** One row per index of the axis: everything that shares it. */
export function channelRows({ outer, length, inner }: AxisLayout): Rows {
  const size = outer * inner;
  return {
    count: length,
    length: size,
    contiguous: outer === 1,
    panel: (first) => Math.min(PANEL, length - first),
    gather(x, first, count, into) {
      if (inner === 1) {
        for (let o = 0, from = first; o < outer; o++, from += length)
          for (let j = 0; j < count; j++) into[j * size + o] = x[from + j]!;
        return;
      }
      for (let o = 0; o < outer; o++)
        for (let j = 0; j < count; j++) {
          const from = (o * length + first + j) * inner;
          const to = j * size + o * inner;
          for (let i = 0; i < inner; i++) into[to + i] = x[from + i]!;
        }
    },
    scatter(x, first, count, from) {
      if (inner === 1) {
        for (let o = 0, to = first; o < outer; o++, to += length)
          for (let j = 0; j < count; j++) x[to + j] = from[j * size + o]!;
        return;
      }
      for (let o = 0; o < outer; o++)
        for (let j = 0; j < count; j++) {
          const to = (o * length + first + j) * inner;
          const at = j * size + o * inner;
          for (let i = 0; i < inner; i++) x[to + i] = from[at + i]!;
        }
    },
  };
}

/** One row per position outside the axis: what runs along it. */
export function axisRows({ outer, length, inner }: AxisLayout): Rows {
  return {
    count: outer * inner,
    length,
    contiguous: inner === 1,
    panel: (first) => Math.min(PANEL, inner - (first % inner)),
    gather(x, first, count, into) {
      const base = Math.floor(first / inner) * length * inner + (first % inner);
      for (let k = 0; k < length; k++) {
        const from = base + k * inner;
        for (let j = 0; j < count; j++) into[j * length + k] = x[from + j]!;
      }
    },
    scatter(x, first, count, from) {
      const base = Math.floor(first / inner) * length * inner + (first % inner);
      for (let k = 0; k < length; k++) {
        const to = base + k * inner;
        for (let j = 0; j < count; j++) x[to + j] = from[j * length + k]!;
      }
    },
  };
}

/** Calls `use` for every row with the array and the offset it starts at; rows that are spread out are copied first. */
export function forEachRow(
  x: Float32Array,
  rows: Rows,
  use: (row: number, values: Float32Array, start: number) => void,
): void {
  if (rows.contiguous) {
    for (let r = 0; r < rows.count; r++) use(r, x, r * rows.length);
    return;
  }
  const buffer = new Float32Array(PANEL * rows.length);
  for (let first = 0; first < rows.count; ) {
    const n = rows.panel(first);
    rows.gather(x, first, n, buffer);
    for (let j = 0; j < n; j++) use(first + j, buffer, j * rows.length);
    first += n;
  }
}
