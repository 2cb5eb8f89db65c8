/** Rows and columns of the tile that one call of the kernel computes. */
export const TILE = 4;

/** c = Σ_k a[k]·b[k]ᵀ of packed panels: at each k four doubles of `a` and four of `b`. Byte addresses; c is 4×4. */
export type TileKernel = (a: number, b: number, c: number, k: number) => void;

/** A compiled kernel with the memory its addresses point into. */
export interface Simd {
  readonly kernel: TileKernel;
  readonly memory: Float64Array;
}

/** The part of the WebAssembly interface used here; neither ECMAScript's nor Node's declarations have it. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Memory: new (limits: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Readonly<Record<string, object>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
};

/** LEB128 of a number from 0 on. */
function leb(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    out.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return out;
}

const I32 = 0x7f;
const V128 = 0x7b;
const get = (local: number): number[] => [0x20, ...leb(local)];
const set = (local: number): number[] => [0x21, ...leb(local)];
/** `i32.const` of a number below 64. */
const small = (value: number): number[] => [0x41, value];
const ADD_I32 = [0x6a];
const vector = (op: number, ...rest: number[]): number[] => [0xfd, ...leb(op), ...rest];
const load = (offset: number): number[] => vector(0x00, 3, ...leb(offset));
const loadSplat = (offset: number): number[] => vector(0x0a, 3, ...leb(offset));
const store = (offset: number): number[] => vector(0x0b, 3, ...leb(offset));
const ADD_F64X2 = vector(0xf0);
const MUL_F64X2 = vector(0xf2);

/** Locals of the kernel: its four parameters, then vectors. */
const [A, B, C, K] = [0, 1, 2, 3];
const B_LOW = 4;
const A_SPLAT = 6;
const SUMS = 7;

/** The loop body: eight sums of two doubles, which is what sixteen vector registers hold beside their operands. */
function body(): number[] {
  const code: number[] = [];
  for (const half of [0, 1]) code.push(...get(B), ...load(16 * half), ...set(B_LOW + half));
  for (let row = 0; row < TILE; row++) {
    code.push(...get(A), ...loadSplat(8 * row), ...set(A_SPLAT));
    for (const half of [0, 1]) {
      const sum = SUMS + 2 * row + half;
      code.push(...get(sum), ...get(A_SPLAT), ...get(B_LOW + half), ...MUL_F64X2, ...ADD_F64X2, ...set(sum));
    }
  }
  for (const pointer of [A, B]) code.push(...get(pointer), ...small(8 * TILE), ...ADD_I32, ...set(pointer));
  return code;
}

function kernelCode(): number[] {
  const loop = [
    ...[0x03, 0x40],
    ...body(),
    // k -= 1, again while it is not zero.
    ...[...get(K), 0x41, 0x7f, ...ADD_I32, 0x22, ...leb(K), 0x0d, 0x00, 0x0b],
  ];
  const results: number[] = [];
  for (let i = 0; i < 2 * TILE; i++) results.push(...get(C), ...get(SUMS + i), ...store(16 * i));
  return [1, SUMS + 2 * TILE - B_LOW, V128, ...loop, ...results, 0x0b];
}

const name = (text: string): number[] => [text.length, ...new TextEncoder().encode(text)];
const section = (id: number, content: number[]): number[] => [id, ...leb(content.length), ...content];

/** The module: one function on an imported memory (WebAssembly 2.0, binary format of chapter 5). */
function moduleBytes(pages: number): Uint8Array {
  const code = kernelCode();
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 4, I32, I32, I32, I32, 0]),
    ...section(2, [1, ...name("e"), ...name("m"), 2, 1, ...leb(pages), ...leb(pages)]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("k"), 0, 0]),
    ...section(10, [1, ...leb(code.length), ...code]),
  ]);
}

/** Bytes of a page of WebAssembly memory. */
const PAGE = 65536;

/**
 * Compiles the kernel over fresh memory of at least the given number of doubles. Its arithmetic is plain IEEE 754
 * without fused operations, so results are the same on every processor.
 */
export function openSimd(doubles: number): Simd {
  const pages = Math.ceil((8 * doubles) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const module = new WebAssembly.Module(moduleBytes(pages));
  const instance = new WebAssembly.Instance(module, { e: { m: memory } });
  return { kernel: instance.exports["k"] as TileKernel, memory: new Float64Array(memory.buffer) };
}
