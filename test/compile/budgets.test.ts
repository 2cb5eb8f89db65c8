import { describe, expect, it } from "vitest";
import { byteLimit, checkBudgets, checkMeasurable } from "../../src/compile/budgets.ts";
import type { Fidelity } from "../../src/report/types.ts";

const figure = { median: 0.9, p10: 0.8, low: 0.85, high: 0.95 };
const fidelity = {
  sqnrMean: 35,
  sqnrInterval: [34, 36],
  sqnrWorst: 12,
  psnr: { ...figure, median: 30 },
  ssim: figure,
} as unknown as Fidelity;

describe("size limits", () => {
  it("are bytes, units or a share of the original", () => {
    expect(byteLimit(500, 1000)).toBe(500);
    expect(byteLimit("30%", 1000)).toBe(300);
    expect(byteLimit("1.5 MB", 1000)).toBe(1_500_000);
    expect(byteLimit("2GiB", 1000)).toBe(2 * 2 ** 30);
  });
});

describe("checking", () => {
  const targets = new Map([["a", { bytes: { before: 1000, after: 300 }, fidelity }]]);
  it("compares every figure with its limit", () => {
    const found = checkBudgets({ bytes: "30%", sqnr: { mean: 30, worst: 20 }, psnr: 31, ssim: 0.9 }, targets);
    expect(found.map((b) => [b.name, b.value, b.met])).toEqual([
      ["bytes", 300, true],
      ["sqnr.mean", 35, true],
      ["sqnr.worst", 12, false],
      ["psnr", 30, false],
      ["ssim", 0.9, true],
    ]);
    expect(found[1]!.interval).toEqual({ low: 34, high: 36 });
  });
  it("says so when nothing was measured", () => {
    const blind = new Map([["a", { bytes: { before: 1, after: 1 }, fidelity: null }]]);
    expect(() => checkBudgets({ psnr: 30 }, blind)).toThrow(/psnr/);
    expect(() => checkMeasurable({ bytes: 1 }, "off")).not.toThrow();
    expect(() => checkMeasurable({ ssim: 0.5 }, "verification is switched off")).toThrow(/switched off/);
  });
});
