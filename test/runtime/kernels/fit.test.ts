import { describe, expect, it } from "vitest";
import { f32Tensor, inlineTensor, type Tensor } from "../../../src/ir/tensor.ts";
import { paletteTensor } from "../../../src/runtime/kernels/fit-palette.ts";
import { type FitTensorOptions, fitTensor } from "../../../src/runtime/kernels/fit-weight.ts";
import { transposeTensor } from "../../../src/runtime/kernels/transpose.ts";
import { inputsOf, momentsOf } from "../../numeric/quantize/reference.ts";
import { denseOf, numbersOf, weights } from "./evaluate.ts";

const [N, K] = [12, 32];
const { gram, mean } = momentsOf(inputsOf(100, K, 6), K);
const double = (x: Float64Array, dims: readonly number[]): Tensor =>
  inlineTensor("f64", dims, new Uint8Array(x.buffer));
const W = f32Tensor(weights(N * K), [N, K]);
const turned = transposeTensor(W, [1, 0]);

const base: FitTensorOptions = {
  order: "NK",
  packing: "axis",
  bits: 4,
  block: 16,
  symmetric: false,
  search: "mse",
  scaleType: "f16",
  method: "rounding",
  damp: 0.01,
  actOrder: true,
  rounds: 4,
  rank: 2,
  sparse: null,
  gram: double(gram, [K, K]),
  mean: double(mean, [K]),
};

/** Value of a [rows, columns] array at a place, whichever way it lies. */
const at = (x: readonly number[], columns: number, r: number, c: number): number => x[r * columns + c]!;

describe("fit-weight", () => {
  it("gives the same weight whichever way the matrix lies", async () => {
    const nk = fitTensor(W, base);
    const kn = fitTensor(turned, { ...base, order: "KN" });
    const [q, t] = [await numbersOf(nk.data), await numbersOf(kn.data)];
    const [s, u] = [await numbersOf(nk.scale), await numbersOf(kn.scale)];
    const [z, y] = [await numbersOf(nk.zero!), await numbersOf(kn.zero!)];
    const [a, b] = [await numbersOf(nk.branch!.first), await numbersOf(nk.branch!.second)];
    const [c, d] = [await numbersOf(kn.branch!.first), await numbersOf(kn.branch!.second)];
    for (let n = 0; n < N; n++) {
      for (let k = 0; k < K; k++) expect(at(t, N, k, n)).toBe(at(q, K, n, k));
      for (let g = 0; g < 2; g++) {
        expect(at(u, N, g, n)).toBe(at(s, 2, n, g));
        expect(at(y, N, g, n)).toBe(at(z, 2, n, g));
      }
      for (let r = 0; r < 2; r++) expect(at(d, N, r, n)).toBe(at(a, 2, n, r));
    }
    for (let k = 0; k < K; k++) for (let r = 0; r < 2; r++) expect(at(c, 2, k, r)).toBe(at(b, K, r, k));
    expect(await numbersOf(kn.figures)).toEqual(await numbersOf(nk.figures));
    expect(await numbersOf(kn.correction!)).toEqual(await numbersOf(nk.correction!));
  });

  it("refuses weights that are not finite, and asks for a Gram matrix where it has a mean", async () => {
    const bad = weights(N * K);
    bad[3] = Number.NaN;
    await expect(denseOf(fitTensor(f32Tensor(bad, [N, K]), base).data)).rejects.toMatchObject({
      code: "WEIGHT_NOT_FINITE",
    });
    expect(() => fitTensor(W, { ...base, gram: null })).toThrow(/Gram/);
  });
});

describe("fit-palette", () => {
  it("gives the same weight whichever way the matrix lies, and the error it says", async () => {
    const options = {
      bits: 2,
      damp: 0.01,
      actOrder: true,
      gram: base.gram,
      mean: null,
      groupOutputs: 0,
      groupInputs: 0,
    } as const;
    const nk = paletteTensor(W, { ...options, order: "NK" });
    const kn = paletteTensor(turned, { ...options, order: "KN" });
    const [q, t] = [await numbersOf(nk.indices), await numbersOf(kn.indices)];
    const [book, scale] = [await numbersOf(nk.codebook), await numbersOf(nk.scale)];
    expect(await numbersOf(kn.codebook)).toEqual(book);
    expect(book).toEqual([...book].sort((x, y) => x - y));
    const w = await numbersOf(W);
    const delta = w.map((v, i) => v - Math.fround(book[q[i]!]! * scale[Math.floor(i / K)]!));
    let noise = 0;
    for (let n = 0; n < N; n++)
      for (let k = 0; k < K; k++) {
        expect(at(t, N, k, n)).toBe(at(q, K, n, k));
        for (let j = 0; j < K; j++) noise += delta[n * K + k]! * gram[k * K + j]! * delta[n * K + j]!;
      }
    expect((await numbersOf(nk.figures))[0]! / noise).toBeCloseTo(1, 6);
  });
});
