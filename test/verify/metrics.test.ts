import { describe, expect, it } from "vitest";
import { createRng, gaussian } from "../../src/numeric/rng.ts";
import { DifferenceTable } from "../../src/verify/metrics/difference.ts";
import { summarise } from "../../src/verify/metrics/interval.ts";
import { clip, psnr, rangeOf } from "../../src/verify/metrics/psnr.ts";
import { EnergyTable, energies, ratioDb, SQNR_CAP_DB, sqnr } from "../../src/verify/metrics/sqnr.ts";
import { gaussianWindow, ssim } from "../../src/verify/metrics/ssim.ts";

const RANGE = { low: -1, high: 1 };

describe("sqnr", () => {
  it("is 10·log10 of the energy ratio", () => {
    expect(sqnr([3, 4], [3, 4.5])).toBeCloseTo(10 * Math.log10(25 / 0.25), 10);
  });
  it("caps equality and counts broken outputs as infinite noise", () => {
    expect(sqnr([1, 2], [1, 2])).toBe(SQNR_CAP_DB);
    expect(sqnr([1, 2], [1, Number.NaN])).toBe(-SQNR_CAP_DB);
    expect(sqnr([0, 0], [1, 0])).toBe(-SQNR_CAP_DB);
    expect(ratioDb(1, 1e-30)).toBe(SQNR_CAP_DB);
  });
  it("sums energies over seeds before the logarithm, and averages decibels over steps", () => {
    const table = new EnergyTable(2, 2);
    table.add(0, 0, { signal: 100, noise: 1 });
    table.add(1, 0, { signal: 300, noise: 3 });
    table.add(0, 1, { signal: 10, noise: 10 });
    table.add(1, 1, { signal: 10, noise: 0 });
    expect(table.at(0)).toBeCloseTo(20, 10);
    expect(table.at(1)).toBeCloseTo(10 * Math.log10(2), 10);
    expect(table.mean()).toBeCloseTo((20 + 10 * Math.log10(2)) / 2, 10);
    expect(table.at(1, [0, 0])).toBeCloseTo(0, 10);
  });
  it("looks at the asked range of elements only", () => {
    expect(energies([9, 1, 2, 9], [0, 1, 4, 0], 1, 3)).toEqual({ signal: 5, noise: 4 });
  });
});

describe("psnr", () => {
  it("clips to the range and takes its length as the peak", () => {
    expect(psnr([5, -0.5], [1, 0.5], RANGE)).toBeCloseTo(10 * Math.log10(4 / 0.5), 10);
    expect(psnr([5, -5], [1, -1], RANGE)).toBe(SQNR_CAP_DB);
  });
  it("uses the reference's extremes where the pipeline states no range", () => {
    expect(rangeOf([2, -3, 1], null)).toEqual({ low: -3, high: 2 });
    expect(rangeOf([2, 2], null)).toEqual({ low: 1.5, high: 2.5 });
    expect([...clip([Number.NaN, 9], RANGE)]).toEqual([-1, 1]);
  });
});

/** SSIM written straight from the formula: a 2-D window, two passes, no separability. */
function ssimReference(x: Float32Array, y: Float32Array, h: number, w: number, range: number): number {
  const size = 11;
  const win: number[] = [];
  let total = 0;
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) {
      const v = Math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5 ** 2));
      win.push(v);
      total += v;
    }
  let sum = 0;
  let count = 0;
  for (let r = 0; r + size <= h; r++)
    for (let c = 0; c + size <= w; c++) {
      const at = (k: number): number => (r + Math.floor(k / size)) * w + c + (k % size);
      let mx = 0;
      let my = 0;
      for (let k = 0; k < win.length; k++) {
        mx += (win[k]! / total) * x[at(k)]!;
        my += (win[k]! / total) * y[at(k)]!;
      }
      let vx = 0;
      let vy = 0;
      let vxy = 0;
      for (let k = 0; k < win.length; k++) {
        const g = win[k]! / total;
        vx += g * (x[at(k)]! - mx) ** 2;
        vy += g * (y[at(k)]! - my) ** 2;
        vxy += g * (x[at(k)]! - mx) * (y[at(k)]! - my);
      }
      const c1 = (0.01 * range) ** 2;
      const c2 = (0.03 * range) ** 2;
      sum += ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2));
      count++;
    }
  return sum / count;
}

describe("ssim", () => {
  it("agrees with the formula written out", () => {
    const rng = createRng(7, "ssim");
    const x = gaussian(rng, 16 * 13).map((v) => Math.tanh(v));
    const y = gaussian(rng, 16 * 13).map((v, i) => Math.tanh(0.8 * x[i]! + 0.2 * v));
    const value = ssim(x, y, [16, 13], RANGE);
    expect(value).toBeCloseTo(ssimReference(x, y, 16, 13, 2), 10);
    expect(value).toBeLessThan(0.999);
  });
  it("is 1 for equal images and averages over planes", () => {
    const x = gaussian(createRng(1, "a"), 144);
    const y = gaussian(createRng(1, "b"), 144);
    expect(ssim(x, x, [12, 12], RANGE)).toBeCloseTo(1, 12);
    const both = Float32Array.of(...x, ...x);
    const other = Float32Array.of(...x, ...y);
    const half = (1 + ssim(x, y, [12, 12], RANGE)) / 2;
    expect(ssim(both, other, [2, 12, 12], RANGE)).toBeCloseTo(half, 12);
  });
  it("has a normalised symmetric window and shrinks it for small images", () => {
    const w = gaussianWindow(11);
    expect(w.reduce((s, v) => s + v, 0)).toBeCloseTo(1, 12);
    expect(w[0]).toBe(w[10]);
    expect(w[5]! / w[4]!).toBeCloseTo(Math.exp(1 / (2 * 1.5 * 1.5)), 10);
    expect(ssim([0, 1, 0, 1], [0, 1, 0, 1], [2, 2], RANGE)).toBeCloseTo(1, 12);
  });
});

describe("conditioning difference", () => {
  it("reports length, direction and distance of conditional minus unconditional", () => {
    const table = new DifferenceTable(2);
    table.add(
      0,
      { conditional: [3, 5], unconditional: [0, 1] },
      { conditional: [1, 2], unconditional: [-0.5, 0] },
    );
    const at = table.at(0);
    expect(at.referenceNorm).toBeCloseTo(5, 12);
    expect(at.ratio).toBeCloseTo(0.5, 12);
    expect(at.cosine).toBeCloseTo(1, 12);
    expect(at.sqnr).toBeCloseTo(10 * Math.log10(25 / 6.25), 10);
  });
  it("shows a build that ignores its condition", () => {
    const table = new DifferenceTable(1);
    table.add(
      0,
      { conditional: [1, 2], unconditional: [0, 0] },
      { conditional: [7, 7], unconditional: [7, 7] },
    );
    expect(table.at(0)).toMatchObject({ ratio: 0, cosine: 0, sqnr: 0 });
  });
  it("calls two absent differences equal", () => {
    const table = new DifferenceTable(1);
    table.add(0, { conditional: [1], unconditional: [1] }, { conditional: [2], unconditional: [2] });
    expect(table.at(0)).toMatchObject({ ratio: 1, cosine: 1, sqnr: SQNR_CAP_DB });
  });
});

describe("intervals", () => {
  it("brackets the median, deterministically", () => {
    const values = [10, 12, 11, 30, 9, 10.5, 11.5, 12.5];
    const s = summarise(values, "x");
    expect(s.median).toBeCloseTo(11.25, 12);
    expect(s.p10).toBeCloseTo(9.7, 12);
    expect(s.interval[0]).toBeLessThanOrEqual(s.median);
    expect(s.interval[1]).toBeGreaterThanOrEqual(s.median);
    expect(summarise(values, "x")).toEqual(s);
    expect(summarise([5, 5, 5], "x").interval).toEqual([5, 5]);
  });
});
