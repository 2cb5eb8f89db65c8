/** Stands in for `node:crypto` in the page: SHA-256 (FIPS 180-4) of a text, with the one reader seeds need. */

function primes(count: number): number[] {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((p) => n % p !== 0)) found.push(n);
  return found;
}

/** The first 32 bits of the fractional part. */
const fraction = (x: number): number => ((x - Math.floor(x)) * 2 ** 32) | 0;
const CUBE_ROOTS = primes(64).map((p) => fraction(Math.cbrt(p)));
const SQUARE_ROOTS = primes(8).map((p) => fraction(Math.sqrt(p)));

const turned = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

function block(state: number[], words: number[]): void {
  const w = words;
  for (let i = 16; i < 64; i++) {
    const [x, y] = [w[i - 15]!, w[i - 2]!];
    const a = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
    const b = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
    w[i] = (w[i - 16]! + a + w[i - 7]! + b) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < 64; i++) {
    const one = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
    const t1 = (h + one + ((e & f) ^ (~e & g)) + CUBE_ROOTS[i]! + w[i]!) | 0;
    const zero = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
    const t2 = (zero + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  for (const [i, x] of [a, b, c, d, e, f, g, h].entries()) state[i] = (state[i]! + x) | 0;
}

/** The eight words of the digest. */
export function sha256(text: string): number[] {
  const message = new TextEncoder().encode(text);
  const padded = new Uint8Array(((message.length + 72) >> 6) << 6);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, message.length * 8);
  const state = [...SQUARE_ROOTS];
  for (let at = 0; at < padded.length; at += 64)
    block(
      state,
      Array.from({ length: 16 }, (_, i) => view.getInt32(at + 4 * i)),
    );
  return state;
}

/** `createHash("sha256").update(text).digest()` with `readInt32LE`. */
export function createHash(algorithm: string) {
  if (algorithm !== "sha256") throw new Error(`${algorithm} is not made here`);
  return {
    update: (text: string) => ({
      digest() {
        const view = new DataView(new ArrayBuffer(32));
        for (const [i, word] of sha256(text).entries()) view.setInt32(4 * i, word);
        return { readInt32LE: (at: number): number => view.getInt32(at, true) };
      },
    }),
  };
}
