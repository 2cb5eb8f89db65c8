import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ActivationGrid,
  type ChannelExtremes,
  channelGrid,
  commonZeroGrid,
  HEADROOM,
  type NormalisedSample,
  SEARCHED_VALUES,
  splitTime,
  U8_STEPS,
  withoutTime,
} from "../../../src/numeric/quantize/activation.ts";
import { createRng } from "../../../src/numeric/rng.ts";

/** Activations of a few calls, `calls × rows × channels`: sizes differ by call and channel, some channels never move. */
interface Run {
  readonly calls: number;
  readonly rows: number;
  readonly channels: number;
  readonly values: Float32Array;
}

const runs = fc
  .record({
    calls: fc.integer({ min: 1, max: 6 }),
    rows: fc.integer({ min: 1, max: 9 }),
    channels: fc.integer({ min: 1, max: 7 }),
    seed: fc.nat(10_000),
    sided: fc.constantFrom(-1, 0, 1),
  })
  .map(({ calls, rows, channels, seed, sided }): Run => {
    const rng = createRng(seed, "activation");
    const call = Float64Array.from({ length: calls }, () => Math.exp(rng.normal()));
    const channel = Float64Array.from({ length: channels }, (_, c) =>
      c % 4 === 3 ? 0 : Math.exp(2 * rng.normal()),
    );
    const offset = Float64Array.from({ length: channels }, () => rng.normal());
    const values = new Float32Array(calls * rows * channels);
    for (let i = 0; i < values.length; i++) {
      const [t, c] = [Math.floor(i / (rows * channels)), i % channels];
      const x = (rng.normal() + offset[c]!) * call[t]! * channel[c]!;
      values[i] = sided === 0 ? x : sided * Math.abs(x);
    }
    return { calls, rows, channels, values };
  });

function extremesOf({ calls, rows, channels, values }: Run): ChannelExtremes {
  const min = new Float64Array(calls * channels).fill(Number.POSITIVE_INFINITY);
  const max = new Float64Array(calls * channels).fill(Number.NEGATIVE_INFINITY);
  for (const [i, v] of values.entries()) {
    const at = Math.floor(i / (rows * channels)) * channels + (i % channels);
    min[at] = Math.min(min[at]!, v);
    max[at] = Math.max(max[at]!, v);
  }
  return { calls, channels, min, max };
}

const UNSEEN: NormalisedSample = { rows: 0, values: new Float32Array(0) };
const ones = (n: number): Float64Array => new Float64Array(n).fill(1);
const zeroOf = (g: ActivationGrid, c: number): number => g.zero[g.zero.length === 1 ? 0 : c]!;

/** x on a grid and back. */
function restored(x: number, scale: number, zero: number): number {
  const q = Math.min(U8_STEPS, Math.max(0, Math.round(x / scale) + zero));
  return (q - zero) * scale;
}

/** Every way to grid a run with its full range. */
function grids(run: Run): ActivationGrid[] {
  const split = splitTime(extremesOf(run), ones(run.channels), { tolerance: 1.1 });
  return [
    channelGrid(split, UNSEEN, { power: 2, steps: 255 }),
    commonZeroGrid(split, ones(run.channels), UNSEEN, { power: 2, steps: 255 }),
  ];
}

describe("time and channels apart", () => {
  it("keep every channel of every call within profile · [low, high], with a mean factor of 1", () => {
    fc.assert(
      fc.property(runs, fc.constantFrom(1, 1.1, 3, Number.POSITIVE_INFINITY), (run, tolerance) => {
        const x = extremesOf(run);
        const { profile, low, high } = splitTime(x, ones(run.channels), { tolerance });
        expect(profile.reduce((a, b) => a + b, 0) / run.calls).toBeCloseTo(1, 9);
        for (let t = 0; t < run.calls; t++)
          for (let c = 0; c < run.channels; c++) {
            const i = t * run.channels + c;
            const slack = 1e-12 * Math.max(Math.abs(x.min[i]!), Math.abs(x.max[i]!));
            expect(profile[t]!).toBeGreaterThan(0);
            expect(x.min[i]!).toBeGreaterThanOrEqual(profile[t]! * low[c]! - slack);
            expect(x.max[i]!).toBeLessThanOrEqual(profile[t]! * high[c]! + slack);
            expect(low[c]!).toBeLessThanOrEqual(0);
            expect(high[c]!).toBeGreaterThanOrEqual(0);
          }
      }),
    );
  });

  it("ignore time below the tolerance, and where a call is all zero", () => {
    const moving = (factor: number): ChannelExtremes => ({
      calls: 2,
      channels: 1,
      min: Float64Array.of(-1, -factor),
      max: Float64Array.of(1, factor),
    });
    expect([...splitTime(moving(1.05), [1], { tolerance: 1.1 }).profile]).toEqual([1, 1]);
    expect([...splitTime(moving(3), [1], { tolerance: 1.1 }).profile]).toEqual([0.5, 1.5]);
    expect([...splitTime(moving(0), [1], { tolerance: 1.1 }).profile]).toEqual([1, 1]);
  });

  it("take factors that are powers of two where scales have to be, and still hold every value", () => {
    fc.assert(
      fc.property(runs, (run) => {
        const x = extremesOf(run);
        const { profile, low, high } = splitTime(x, ones(run.channels), { tolerance: 1.1, powerOfTwo: true });
        const free = splitTime(x, ones(run.channels), { tolerance: 1.1 }).profile;
        for (const [t, p] of profile.entries()) {
          expect(Number.isInteger(Math.log2(p))).toBe(true);
          expect(Math.abs(Math.log2(p / free[t]!))).toBeLessThanOrEqual(0.5 + 1e-12);
          for (let c = 0; c < run.channels; c++) {
            const i = t * run.channels + c;
            const slack = 1e-12 * Math.max(Math.abs(x.min[i]!), Math.abs(x.max[i]!));
            expect(x.min[i]!).toBeGreaterThanOrEqual(p * low[c]! - slack);
            expect(x.max[i]!).toBeLessThanOrEqual(p * high[c]! + slack);
          }
        }
      }),
    );
  });

  it("follow the channels that matter", () => {
    const x: ChannelExtremes = {
      calls: 2,
      channels: 2,
      min: Float64Array.of(0, 0, 0, 0),
      max: Float64Array.of(1, 4, 2, 1),
    };
    const of = (importance: number[]): number[] => [...splitTime(x, importance, { tolerance: 1.1 }).profile];
    expect(of([1, 0])[1]! / of([1, 0])[0]!).toBeCloseTo(2, 12);
    expect(of([0, 1])[1]! / of([0, 1])[0]!).toBeCloseTo(1 / 4, 12);
  });

  it("divide a sample by its call's factor", () => {
    const found = withoutTime(Float32Array.of(1, 2, 3, 4, 5, 6), Float64Array.of(1, 2));
    expect([...found]).toEqual([1, 2, 3, 2, 2.5, 3]);
  });
});

describe("grids of activations", () => {
  it("represent every value of every call within half a step, and zero exactly", () => {
    fc.assert(
      fc.property(runs, (run) => {
        const { profile } = splitTime(extremesOf(run), ones(run.channels), { tolerance: 1.1 });
        for (const g of grids(run)) {
          for (let c = 0; c < run.channels; c++) {
            const zero = zeroOf(g, c);
            expect(Number.isInteger(zero) && zero >= 0 && zero <= U8_STEPS).toBe(true);
            expect(g.scale[c]! > 0 && Number.isFinite(g.scale[c]!)).toBe(true);
            expect(restored(0, g.scale[c]!, zero)).toBe(0);
          }
          for (const [i, x] of run.values.entries()) {
            const c = i % run.channels;
            const p = profile[Math.floor(i / (run.rows * run.channels))]!;
            const scale = g.scale[c]! * p;
            expect(Math.abs(restored(x, scale, zeroOf(g, c)) - x)).toBeLessThanOrEqual((0.5 + 1e-9) * scale);
          }
        }
      }),
    );
  });

  it("share the zero point with the least weighted rounding error of all that cover every range", () => {
    fc.assert(
      fc.property(runs, fc.nat(1000), (run, seed) => {
        const rng = createRng(seed, "importance");
        const importance = Float64Array.from({ length: run.channels }, () => 0.1 + rng.float());
        const split = splitTime(extremesOf(run), importance, { tolerance: 1.1 });
        const cost = (scale: ArrayLike<number>): number =>
          importance.reduce((sum, w, c) => sum + w * scale[c]! ** 2, 0);
        const found = cost(commonZeroGrid(split, importance, UNSEEN, { power: 2, steps: 255 }).scale);
        for (let zero = 0; zero <= U8_STEPS; zero += 5) {
          // The least scale whose grid reaches both ends; none where a side has no levels.
          const scale = Array.from(split.low, (low, c) =>
            Math.max(split.high[c]! > 0 ? split.high[c]! / (U8_STEPS - zero) : 0, low < 0 ? -low / zero : 0),
          );
          if (scale.every(Number.isFinite))
            expect(found).toBeLessThanOrEqual(cost(scale) * HEADROOM ** 2 * (1 + 1e-9) + 1e-15);
        }
      }),
    );
  });

  it("shrink a range only where that lowers the error on the sample", () => {
    fc.assert(
      fc.property(runs, fc.constantFrom(2, 2.4), (run, power) => {
        const split = splitTime(extremesOf(run), ones(run.channels), { tolerance: 1.1 });
        const once = withoutTime(run.values, split.profile);
        const seen = run.calls * run.rows;
        const times = Math.ceil(SEARCHED_VALUES / seen);
        const values = new Float32Array(once.length * times);
        for (let i = 0; i < times; i++) values.set(once, i * once.length);
        const sample = { rows: seen * times, values };
        const pairs = [
          [
            channelGrid(split, UNSEEN, { power, steps: 255 }),
            channelGrid(split, sample, { power, steps: 255 }),
          ],
          [
            commonZeroGrid(split, ones(run.channels), UNSEEN, { power, steps: 255 }),
            commonZeroGrid(split, ones(run.channels), sample, { power, steps: 255 }),
          ],
        ] as const;
        for (const [full, searched] of pairs)
          for (let c = 0; c < run.channels; c++) {
            const error = (g: ActivationGrid, scale: number): number => {
              let sum = 0;
              for (let r = 0; r < seen; r++) {
                const x = sample.values[r * run.channels + c]!;
                sum += Math.abs(x - restored(x, scale, zeroOf(g, c))) ** power;
              }
              return sum;
            };
            expect(searched.scale[c]!).toBeLessThanOrEqual(full.scale[c]!);
            expect(searched.scale[c]!).toBeGreaterThan(full.scale[c]! / 2);
            const tight = full.scale[c]! / HEADROOM;
            // Where the grid meets every value, both errors are rounding of float64.
            expect(error(searched, searched.scale[c]!)).toBeLessThanOrEqual(
              error(full, tight) * (1 + 1e-9) + 1e-14,
            );
          }
      }),
    );
  });
});
