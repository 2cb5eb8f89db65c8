import fc from "fast-check";
import { expect, it } from "vitest";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { encodeMini, miniValue } from "../../../src/numeric/minifloat.ts";
import { exactScale } from "../../../src/numeric/quantize/saturation.ts";
import { quantizeScaled } from "../../../src/runtime/kernels/quantize-scaled.ts";
import { denseOf, numbersOf, weights } from "./evaluate.ts";

/** Where an element of a row-major array lies, axis by axis. */
function indexOf(i: number, dims: readonly number[]): number[] {
  const at: number[] = [];
  for (let d = dims.length - 1; d >= 0; d--) {
    at[d] = i % dims[d]!;
    i = Math.floor(i / dims[d]!);
  }
  return at;
}

const layouts = fc.constantFrom<{ dims: number[]; outAxis: number; inAxis: number }>(
  { dims: [5, 7], outAxis: 1, inAxis: 0 },
  { dims: [5, 7], outAxis: 0, inAxis: 1 },
  { dims: [4, 3, 3, 2], outAxis: 0, inAxis: 1 },
  { dims: [4, 6, 1, 1], outAxis: 1, inAxis: 0 },
);

it("quantize-scaled is round(w · factor / scale), each index on its own axis, within ±127", async () => {
  await fc.assert(
    fc.asyncProperty(layouts, fc.nat(1000), fc.boolean(), async (layout, seed, clips) => {
      const { dims, outAxis, inAxis } = layout;
      const w = weights(
        dims.reduce((a, b) => a * b, 1),
        seed,
      );
      const factor = weights(dims[inAxis]!, seed + 1).map((v) => Math.abs(v) + 0.01);
      const scale = weights(dims[outAxis]!, seed + 2).map(
        (v) => (Math.abs(v) + 0.05) * (clips ? 1e-4 : 1e-2),
      );
      const t = quantizeScaled(f32Tensor(w, dims), {
        outAxis,
        inAxis,
        factor: f32Tensor(factor),
        scale: f32Tensor(scale),
      });
      expect([t.dtype, t.dims]).toEqual(["i8", dims]);
      const expected = Array.from(w, (v, i) => {
        const at = indexOf(i, dims);
        const q = Math.round(Math.fround(v * factor[at[inAxis]!]!) / scale[at[outAxis]!]!);
        return Math.max(-127, Math.min(127, q)) + 0;
      });
      expect((await numbersOf(t)).map((v) => v + 0)).toEqual(expected);
      if (clips) expect(expected.some((v) => Math.abs(v) === 127)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

it("quantize-scaled writes the integers a saturation rule was found for", async () => {
  // Equal neighbours sit on the edge of the rule: one step more and 255 · (65 + 64) no longer fits in 16 bits.
  await fc.assert(
    fc.asyncProperty(fc.double({ min: 1e-3, max: 10, noNaN: true }), fc.nat(1000), async (factor, seed) => {
      const f = Math.fround(factor);
      const [v] = weights(1, seed);
      const w = Float32Array.of(v!, v!, v! * 0.99, v!);
      const scale = exactScale(
        w.map((x) => x * f),
        "pairs",
      );
      const q = await numbersOf(
        quantizeScaled(f32Tensor(w, [1, 4]), {
          outAxis: 0,
          inAxis: 1,
          factor: f32Tensor(new Float32Array(4).fill(f)),
          scale: f32Tensor([scale]),
        }),
      );
      for (const k of [0, 2]) expect(Math.abs(q[k]! + q[k + 1]!)).toBeLessThanOrEqual(128);
    }),
    { numRuns: 200 },
  );
});

it("quantize-scaled to E4M3FN: hand-computed codes, beyond the largest number that one", async () => {
  const t = quantizeScaled(f32Tensor([1, -0.5, 0.3, 0.001, 0, 2], [6, 1]), {
    outAxis: 1,
    inAxis: 0,
    factor: f32Tensor([1, 1, 1, 1, 1, 1]),
    scale: f32Tensor([1 / 448]),
    float8: true,
  });
  expect(t.dtype).toBe("f8e4m3fn");
  const bytes = (await denseOf(t)).bytes;
  // 448, −224, 134.4 (128 or 144), 0.448 (0.4375 or 0.46875), 0 and 896, which saturates.
  expect([...bytes]).toEqual([0x7e, 0xf6, 0x70, 0x2e, 0x00, 0x7e]);
  expect([...bytes].map((c) => miniValue("f8e4m3fn", c))).toEqual([448, -224, 128, 0.4375, 0, 448]);
});

it("quantize-scaled to E4M3FN divides as it does for integers, each index on its own axis", async () => {
  await fc.assert(
    fc.asyncProperty(layouts, fc.nat(1000), async ({ dims, outAxis, inAxis }, seed) => {
      const count = dims.reduce((a, b) => a * b, 1);
      const w = weights(count, seed);
      const factor = weights(dims[inAxis]!, seed + 1).map((v) => Math.abs(v) + 0.01);
      const scale = weights(dims[outAxis]!, seed + 2).map((v) => (Math.abs(v) + 0.05) * 1e-2);
      const options = { outAxis, inAxis, factor: f32Tensor(factor), scale: f32Tensor(scale), float8: true };
      const codes = (await denseOf(quantizeScaled(f32Tensor(w, dims), options))).bytes;
      const expected = Array.from(w, (v, i) => {
        const at = indexOf(i, dims);
        const x = Math.fround(Math.fround(v * factor[at[inAxis]!]!) / scale[at[outAxis]!]!);
        return encodeMini("f8e4m3fn", x, true);
      });
      expect([...codes]).toEqual(expected);
    }),
    { numRuns: 40 },
  );
});
