import { createHash } from "node:crypto";
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";

/**
 * A random stream. Its state is a pure function of the seed and the labels it was split with, never of how many
 * numbers other streams have drawn, so work can be reordered or regrouped without changing any stream.
 */
export interface Rng {
  /** Uniform 32-bit unsigned integer. */
  u32(): number;
  /** Uniform in [0, 1), a multiple of 2^-53. */
  float(): number;
  /** Uniform integer in [0, n) without modulo bias; `n` from 1 to 2^32. */
  int(n: number): number;
  /** Standard normal number; see {@link gaussian} for the algorithm. */
  normal(): number;
  /** An independent stream named by `labels`; does not advance this one. */
  split(...labels: readonly (string | number)[]): Rng;
}

const U32 = 4294967296;

function state(path: readonly (string | number)[]): number[] {
  const digest = createHash("sha256").update(JSON.stringify(path)).digest();
  return [digest.readInt32LE(0), digest.readInt32LE(4), digest.readInt32LE(8), digest.readInt32LE(12)];
}

/**
 * The stream of a seed and labels: xoroshiro128+ (Blackman and Vigna 2018), its 128-bit state the first 16 bytes of
 * SHA-256 over the JSON array `[seed, ...labels]`. The algorithm is fixed: changing it changes every build.
 */
export function createRng(seed: number, ...labels: readonly (string | number)[]): Rng {
  const path = [seed, ...labels];
  const generator = xoroshiro128plusFromState(state(path));
  const u32 = (): number => generator.next() >>> 0;
  const float = (): number => uniformFloat64(generator);
  let spare: number | null = null;
  return {
    u32,
    float,
    int(n) {
      if (!Number.isInteger(n) || n < 1 || n > U32) throw new Error(`int(${n}): n must be from 1 to 2^32`);
      const limit = U32 - (U32 % n);
      let x = u32();
      while (x >= limit) x = u32();
      return x % n;
    },
    normal() {
      if (spare !== null) {
        const kept = spare;
        spare = null;
        return kept;
      }
      for (;;) {
        const a = 2 * float() - 1;
        const b = 2 * float() - 1;
        const s = a * a + b * b;
        if (s >= 1 || s === 0) continue;
        const scale = Math.sqrt((-2 * Math.log(s)) / s);
        spare = b * scale;
        return a * scale;
      }
    },
    split: (...labels) => createRng(seed, ...path.slice(1), ...labels),
  };
}

/**
 * `count` independent standard normal numbers rounded to float32: the polar form of the Box-Muller transform (Marsaglia
 * and Bray 1964), both numbers of a pair used, first `a` then `b`. It needs only `log` and `sqrt`.
 */
export function gaussian(rng: Rng, count: number): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = rng.normal();
  return out;
}

/** Shuffles in place (Fisher-Yates, Durstenfeld's form) and returns the array. */
export function shuffle<T>(rng: Rng, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    const kept = items[i]!;
    items[i] = items[j]!;
    items[j] = kept;
  }
  return items;
}
