/** Groups neighbouring axes that stay neighbours, drops axes of length 1: fewer, longer loops with the same result. */
function simplify(dims: readonly number[], perm: readonly number[]): { dims: number[]; perm: number[] } {
  const kept = dims.map((d, i) => ({ d, i })).filter(({ d }) => d !== 1);
  const index = new Map(kept.map(({ i }, k) => [i, k]));
  const order = perm.filter((p) => index.has(p)).map((p) => index.get(p)!);
  const groups: number[][] = [];
  for (const p of order) {
    const last = groups.at(-1);
    if (last !== undefined && last.at(-1)! + 1 === p) last.push(p);
    else groups.push([p]);
  }
  const byFirst = [...groups].sort((a, b) => a[0]! - b[0]!);
  return {
    dims: byFirst.map((g) => g.reduce((n, k) => n * kept[k]!.d, 1)),
    perm: groups.map((g) => byFirst.indexOf(g)),
  };
}

const WORDS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array } as const;

/** Side of the square tiles in which a matrix is transposed: 32 rows of 32 words stay in the first-level cache. */
const TILE = 32;

/**
 * Permutes the axes of an array of `size`-byte elements (1, 2, 4, 8 or 16). Row-major in and out, fresh bytes.
 */
export function permuteElements(
  bytes: Uint8Array,
  size: number,
  dims: readonly number[],
  perm: readonly number[],
): Uint8Array {
  // Wider elements move as integers: floats as carriers could lose the payload of a NaN.
  if (size > 4) return permuteElements(bytes, 4, [...dims, size / 4], [...perm, dims.length]);
  const word = WORDS[size as keyof typeof WORDS];
  if (word === undefined) throw new Error(`cannot permute elements of ${size} bytes`);
  const source = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const src = new word(source.buffer as ArrayBuffer, source.byteOffset, bytes.length / size);
  const dst = new word(src.length);
  if (src.length > 0) permute(src, dst, simplify(dims, perm));
  return new Uint8Array(dst.buffer);
}

type Words = Uint8Array | Uint16Array | Uint32Array;

function permute(src: Words, dst: Words, { dims, perm }: { dims: number[]; perm: number[] }): void {
  const rank = dims.length;
  const strides = new Array<number>(rank).fill(1);
  for (let i = rank - 2; i >= 0; i--) strides[i] = strides[i + 1]! * dims[i + 1]!;
  if (rank <= 1 || perm.every((p, i) => p === i)) {
    dst.set(src as Uint8Array);
    return;
  }
  const outDims = perm.map((p) => dims[p]!);
  const outStrides = perm.map((p) => strides[p]!);
  const rowLength = outDims[rank - 1]!;
  const rowStride = outStrides[rank - 1]!;
  // Walk all output positions except the last axis and, when the last input axis lies elsewhere, that axis too.
  const fast = rowStride === 1 ? -1 : perm.indexOf(rank - 1);
  const fastLength = fast < 0 ? 1 : outDims[fast]!;
  let fastOut = 1;
  for (let i = fast + 1; i < rank && fast >= 0; i++) fastOut *= outDims[i]!;
  const walk = outDims.map((d, i) => (i === rank - 1 || i === fast ? 1 : d));
  const outPositions = new Array<number>(rank).fill(1);
  for (let i = rank - 2; i >= 0; i--) outPositions[i] = outPositions[i + 1]! * outDims[i + 1]!;
  const index = new Array<number>(rank).fill(0);
  for (;;) {
    let from = 0;
    let to = 0;
    for (let i = 0; i < rank; i++) {
      from += index[i]! * outStrides[i]!;
      to += index[i]! * outPositions[i]!;
    }
    if (fast < 0) for (let c = 0; c < rowLength; c++) dst[to + c] = src[from + c]!;
    else
      tile(src, dst, {
        from,
        to,
        rows: fastLength,
        rowOut: fastOut,
        columns: rowLength,
        columnIn: rowStride,
      });
    let axis = rank - 1;
    for (; axis >= 0; axis--) {
      if (++index[axis]! < walk[axis]!) break;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** dst[to + r·rowOut + c] = src[from + r + c·columnIn], tile by tile. */
function tile(
  src: Words,
  dst: Words,
  m: { from: number; to: number; rows: number; rowOut: number; columns: number; columnIn: number },
): void {
  for (let r0 = 0; r0 < m.rows; r0 += TILE) {
    const r1 = Math.min(m.rows, r0 + TILE);
    for (let c0 = 0; c0 < m.columns; c0 += TILE) {
      const c1 = Math.min(m.columns, c0 + TILE);
      for (let r = r0; r < r1; r++) {
        const to = m.to + r * m.rowOut;
        const from = m.from + r;
        for (let c = c0; c < c1; c++) dst[to + c] = src[from + c * m.columnIn]!;
      }
    }
  }
}
