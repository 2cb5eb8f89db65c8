import { describe, expect, it } from "vitest";
import { createRng, gaussian, shuffle } from "../../src/numeric/rng.ts";
import { bootstrapMean, mean, pairedBootstrap, quantile, variance } from "../../src/numeric/stats.ts";

describe("rng", () => {
  it("gives the pinned stream of a seed", () => {
    const rng = createRng(0, "noise", 1);
    expect([rng.u32(), rng.u32(), rng.u32()]).toEqual([1396978070, 3684798450, 1622567777]);
    expect(Array.from(gaussian(createRng(7), 3))).toEqual([
      -0.22985558211803436, -1.1014245748519897, 0.07346019893884659,
    ]);
  });

  it("splits by label, not by position", () => {
    const root = createRng(3);
    const before = root.split("a").u32();
    for (let i = 0; i < 10; i++) root.u32();
    expect(root.split("a").u32()).toBe(before);
    expect(root.split("b").u32()).not.toBe(before);
    expect(root.split("a", "b").u32()).toBe(root.split("a").split("b").u32());
    expect(root.split("ab").u32()).not.toBe(root.split("a", "b").u32());
  });

  it("draws uniform integers in range", () => {
    const rng = createRng(1);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 7000; i++) counts[rng.int(7)]!++;
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(() => rng.int(0)).toThrow();
  });

  it("draws standard normal numbers", () => {
    const x = gaussian(createRng(2), 40_000);
    expect(mean(x)).toBeCloseTo(0, 1);
    expect(variance(x)).toBeCloseTo(1, 1);
    const beyond = x.filter((v) => Math.abs(v) > 1.959964).length / x.length;
    expect(beyond).toBeGreaterThan(0.045);
    expect(beyond).toBeLessThan(0.055);
    const lag = mean(x.subarray(1).map((v, i) => v * x[i]!));
    expect(Math.abs(lag)).toBeLessThan(0.02);
  });

  it("shuffles to a permutation", () => {
    const items = Array.from({ length: 50 }, (_, i) => i);
    const mixed = shuffle(createRng(4), [...items]);
    expect(mixed).not.toEqual(items);
    expect([...mixed].sort((a, b) => a - b)).toEqual(items);
  });
});

describe("stats", () => {
  it("computes mean, variance and quantiles", () => {
    expect(mean([1e16, 1, -1e16])).toBeCloseTo(1 / 3, 12);
    expect(mean([Infinity, 1])).toBe(Infinity);
    expect(variance([1, 2, 3, 4])).toBeCloseTo(5 / 3, 12);
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([Infinity, Infinity], 0.3)).toBe(Infinity);
  });

  it("covers the true mean about as often as it says", () => {
    let covered = 0;
    for (let trial = 0; trial < 200; trial++) {
      const values = gaussian(createRng(trial, "trial"), 40);
      const i = bootstrapMean(values, { rng: createRng(trial, "boot"), resamples: 300 });
      if (i.low <= 0 && i.high >= 0) covered++;
    }
    expect(covered).toBeGreaterThan(178);
    expect(covered).toBeLessThan(200);
  });

  it("is narrow for paired differences and repeatable", () => {
    const a = gaussian(createRng(5), 30).map((v) => v * 10);
    const b = a.map((v) => v + 0.5);
    const run = () => pairedBootstrap(a, b, { rng: createRng(9), resamples: 500 });
    expect(run().estimate).toBeCloseTo(0.5, 4);
    expect(run().high - run().low).toBeLessThan(1e-5);
    expect(run()).toEqual(run());
    expect(() => pairedBootstrap(a, b.subarray(1), { rng: createRng(9) })).toThrow();
  });
});
