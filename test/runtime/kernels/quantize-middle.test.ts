import { expect, it } from "vitest";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { quantizeScaled } from "../../../src/runtime/kernels/quantize-scaled.ts";
import { numbersOf, weights } from "./evaluate.ts";

const [K, N] = [12, 5];
const W = weights(K * N);
const FACTOR = Float32Array.from({ length: K }, (_, k) => 0.5 + k / 8);
const SCALE = Float32Array.from({ length: N }, (_, n) => 0.001 * (n + 1));

it("quantizes a [K, N] matrix per column, signed and around a middle", async () => {
  const options = { outAxis: 1, inAxis: 0, factor: f32Tensor(FACTOR), scale: f32Tensor(SCALE) };
  const t = f32Tensor(W, [K, N]);
  const want = Array.from(W, (w, i) => {
    const q = Math.round((w * FACTOR[Math.floor(i / N)]!) / SCALE[i % N]!);
    return Math.min(127, Math.max(-127, q));
  });
  expect(want.some((q) => Math.abs(q) === 127)).toBe(true);
  const signed = quantizeScaled(t, options);
  expect(signed.dtype).toBe("i8");
  expect(await numbersOf(signed)).toEqual(want);
  const middle = quantizeScaled(t, { ...options, zero: 128 });
  expect(middle.dtype).toBe("u8");
  expect(await numbersOf(middle)).toEqual(want.map((q) => q + 128));
});
