import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { biasTensor, quantizeDomain, scalesForBias } from "../../src/targets/lower/qdq.ts";
import { numbersOf } from "../runtime/kernels/evaluate.ts";

const channel = fc.record({
  bias: fc.double({ min: -1e3, max: 1e3, noNaN: true }),
  scale: fc
    .double({ min: 1e-30, max: 1, noNaN: true })
    .map(Math.fround)
    .filter((s) => s > 0),
});

describe("bias", () => {
  it("comes back from 32 bits within half a step, whatever the scales", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(channel, { minLength: 2, maxLength: 8 }),
        fc.double({ min: 1e-5, max: 1, noNaN: true }),
        async (channels, x) => {
          const bias = channels.map((c) => c.bias);
          const given = Float32Array.from(channels, (c) => c.scale);
          const scale = scalesForBias(given, bias, x);
          const products = scale.map((s) => s * x);
          const q = await numbersOf(biasTensor(bias, products));
          for (const [n, v] of q.entries()) {
            expect(scale[n]!).toBeGreaterThanOrEqual(given[n]!);
            expect(Math.abs(v)).toBeLessThan(2 ** 31);
            expect(Math.abs(v * products[n]! - bias[n]!)).toBeLessThanOrEqual(
              0.5 * products[n]! + 1e-12 * Math.abs(bias[n]!),
            );
          }
        },
      ),
    );
  });
  it("leaves scales alone where it fits", () => {
    const scale = Float32Array.of(0.01, 0.02);
    expect(scalesForBias(scale, [3, -4], 0.1)).toEqual(scale);
    expect(scalesForBias(scale, null, 0.1)).toBe(scale);
  });
  it("keeps a shared scale shared", () => {
    const scale = scalesForBias(Float32Array.of(1e-20, 1e-20), [0, 5], 0.1);
    expect(scale[0]).toBe(scale[1]);
    expect(scale[0]).toBeGreaterThan(1e-20);
  });
});

it("Q and DQ come from com.microsoft where the standard has no axis or no 16 bits", () => {
  const of = (opset: number, bits: 8 | 16) => quantizeDomain(opset, bits);
  expect([of(12, 8), of(13, 8), of(20, 16), of(21, 16)]).toEqual(["com.microsoft", "", "com.microsoft", ""]);
});
