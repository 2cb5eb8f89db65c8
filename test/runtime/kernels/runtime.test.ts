import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { DTYPES, type DType } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { castTensor } from "../../../src/runtime/kernels/cast.ts";
import { dequantizeBlocks, dequantizeTensor } from "../../../src/runtime/kernels/dequantize.ts";
import { bytesOf } from "../../../src/runtime/kernels/elements.ts";
import { quantizeBlocks } from "../../../src/runtime/kernels/quantize-blocks.ts";
import { quantizeChannel } from "../../../src/runtime/kernels/quantize-channel.ts";
import { quantizeGroups } from "../../../src/runtime/kernels/quantize-groups.ts";
import { transposeTensor } from "../../../src/runtime/kernels/transpose.ts";
import { denseOf, numbersOf, weights } from "./evaluate.ts";

/** Kernels against the pinned onnxruntime: what it makes of our bytes is what they mean. */

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

const floats = (d: Dense): Float32Array => new Float32Array(d.bytes.slice().buffer);

describe("cast", () => {
  /** Values over the range of float32, its special ones, and everything near the boundaries of narrow formats. */
  const samples = (): Float32Array => {
    const x: number[] = [
      0,
      -0,
      Infinity,
      -Infinity,
      Number.NaN,
      448,
      464,
      465,
      57344,
      61440,
      65504,
      65520,
      240,
      248,
    ];
    for (let e = -150; e < 128; e++)
      for (const m of [1, 1.0625, 1.125, 1.1875, 1.25, 1.5, 1.75, 1.9375]) x.push(m * 2 ** e);
    return Float32Array.from([...x, ...x.map((v) => -v), ...weights(500, 7)]);
  };

  const narrow: readonly DType[] = [
    "f16",
    "bf16",
    "f8e4m3fn",
    "f8e4m3fnuz",
    "f8e5m2",
    "f8e5m2fnuz",
    "f8e8m0",
  ];

  test.each(
    narrow.flatMap(
      (d) =>
        (d.startsWith("f8e")
          ? [
              [d, 1],
              [d, 0],
            ]
          : [[d, 1]]) as [DType, number][],
    ),
  )("to %s with saturate=%d equals the runtime's", async (dtype, saturate) => {
    // Two things the specification says otherwise or not at all: the runtime makes NaN, not infinity, of what
    // overflows E5M2 by less than a binade, and its E8M0 without saturation has no rule for zero and negatives.
    const x = samples().filter((v) => {
      if (dtype === "f8e5m2" && saturate === 0) return !(Math.abs(v) >= 61440 && Math.abs(v) < 65536);
      return dtype !== "f8e8m0" || v > 2 ** -127;
    });
    const b = new ModelBuilder({ opset: 24 });
    const attrs = { to: DTYPES[dtype].onnx, ...(dtype.startsWith("f8") && { saturate }) };
    b.output(b.node("Cast", [b.input("x", "f32", ["n"])], attrs), "y", tensorType(dtype, ["n"]));
    const feeds = new Map([["x", { dtype: "f32" as const, dims: [x.length], bytes: bytesOf(x) }]]);
    const theirs = (await runtime.evaluator.run(b.build(), feeds)).get("y")!;
    const overflow = saturate && dtype.startsWith("f8") ? "saturate" : "ieee";
    const ours = await denseOf(castTensor(f32Tensor(x), dtype, { overflow }));
    const wide = async (d: Dense): Promise<number[]> =>
      await numbersOf({ dtype, dims: d.dims, source: { kind: "inline", bytes: d.bytes } });
    const [a, c] = [await wide(ours), await wide(theirs)];
    const differ = a.flatMap((v, i) => (Object.is(v, c[i]) ? [] : [[x[i], v, c[i]]]));
    expect(differ).toEqual([]);
  });
});

describe("DequantizeLinear", () => {
  async function theirs(
    q: { data: Tensor; scale: Tensor; zeroPoint: Tensor },
    attrs: Record<string, number>,
  ) {
    const b = new ModelBuilder({ opset: 25 });
    const inputs = [q.data, q.scale, q.zeroPoint].map((t, i) => b.constant(t, `c${i}`));
    b.output(b.node("DequantizeLinear", inputs, attrs), "y", tensorType(q.scale.dtype, q.data.dims));
    return (await runtime.evaluator.run(b.build(), new Map())).get("y")!;
  }

  const conv = f32Tensor(weights(6 * 5 * 3 * 3), [6, 5, 3, 3]);

  test.each([
    [8, true, true, 0],
    [8, false, true, 0],
    [8, true, false, 1],
    [4, true, true, 0],
    [4, false, false, 1],
    [2, true, true, 0],
    [8, true, true, null],
    [4, true, false, null],
  ] as const)("%d bits, signed %s, symmetric %s, axis %s", async (bits, signed, symmetric, axis) => {
    const q = quantizeChannel(conv, { bits, signed, symmetric, axis });
    const ours = await denseOf(dequantizeTensor(q, { axis }));
    const want = await theirs(q, axis === null ? {} : { axis });
    expect(floats(want)).toEqual(floats(ours));
  });

  test.each([
    [4, true, true, 0],
    [4, false, false, 0],
    [8, true, false, 1],
    [4, true, true, 1],
  ] as const)(
    "blocks: %d bits, signed %s, symmetric %s, axis %d, ragged",
    async (bits, signed, symmetric, axis) => {
      const q = quantizeGroups(f32Tensor(weights(40 * 40), [40, 40]), {
        bits,
        signed,
        symmetric,
        axis,
        blockSize: 16,
        search: "mse",
      });
      expect(q.scale.dims).toEqual(axis === 0 ? [3, 40] : [40, 3]);
      const ours = await denseOf(dequantizeTensor(q, { axis, blockSize: 16 }));
      expect(floats(await theirs(q, { axis, block_size: 16 }))).toEqual(floats(ours));
    },
  );

  test("quantizing equals the runtime's QuantizeLinear", async () => {
    const q = quantizeChannel(conv, { bits: 8, axis: 0 });
    const b = new ModelBuilder({ opset: 21 });
    const inputs = [conv, q.scale, q.zeroPoint].map((t, i) => b.constant(t, `c${i}`));
    b.output(b.node("QuantizeLinear", inputs, { axis: 0 }), "y", tensorType("i8", conv.dims));
    expect((await runtime.evaluator.run(b.build(), new Map())).get("y")).toEqual(await denseOf(q.data));
  });
});

describe("MatMulNBits", () => {
  test.each([
    [4, true, 32, 64, 48],
    [4, false, 32, 64, 48],
    [4, false, 16, 50, 7],
    [4, true, 128, 200, 9],
    [8, true, 32, 70, 16],
    [8, false, 32, 64, 5],
    [2, true, 16, 33, 8],
    [2, false, 32, 100, 6],
  ] as const)("%d bits, symmetric %s, blocks of %d, K %d, N %d", async (bits, symmetric, blockSize, K, N) => {
    const w = f32Tensor(weights(K * N, bits + K), [K, N]);
    const q = quantizeBlocks(w, { bits, symmetric, blockSize, order: "KN", search: "mse" });
    const b = new ModelBuilder({ opset: 21, domains: { "com.microsoft": 1 } });
    const inputs = [
      b.input("a", "f32", ["m", K]),
      b.constant(q.packed, "packed"),
      b.constant(q.scales, "scales"),
      ...(q.zeroPoints === null ? [] : [b.constant(q.zeroPoints, "zeros")]),
    ];
    const attrs = { K, N, bits, block_size: blockSize, accuracy_level: 0 };
    b.output(
      b.node("MatMulNBits", inputs, attrs, { domain: "com.microsoft" }),
      "y",
      tensorType("f32", ["m", N]),
    );
    // The identity picks the weight out row by row.
    const eye = new Float32Array(K * K);
    for (let k = 0; k < K; k++) eye[k * K + k] = 1;
    const feeds = new Map([["a", { dtype: "f32" as const, dims: [K, K], bytes: bytesOf(eye) }]]);
    const theirs = floats((await runtime.evaluator.run(b.build(), feeds)).get("y")!);
    const ours = await numbersOf(dequantizeBlocks(q, { bits, blockSize, order: "KN" }));
    // Products with 1 and sums with 0 are exact, but kernels may form (q - z)·s as q·s - z·s.
    for (const [i, v] of ours.entries()) expect(Math.abs(theirs[i]! - v)).toBeLessThan(1e-6);
    expect(theirs.length).toBe(ours.length);
    const original = await numbersOf(w);
    const step = Math.max(...(await numbersOf(q.scales)));
    // Searched ranges clip the extremes, which costs at most half the range of two bits.
    for (const [i, v] of ours.entries()) expect(Math.abs(v - original[i]!)).toBeLessThan(step * 1.6);
  });

  test("f16 scales and a transposed weight", async () => {
    const nk = f32Tensor(weights(24 * 64), [24, 64]);
    const a = quantizeBlocks(nk, { bits: 4, blockSize: 32, order: "NK", scaleType: "f16" });
    const b = quantizeBlocks(transposeTensor(nk), { bits: 4, blockSize: 32, order: "KN", scaleType: "f16" });
    expect(a.scales.dtype).toBe("f16");
    expect(await denseOf(b.packed)).toEqual(await denseOf(a.packed));
    expect(await denseOf(b.scales)).toEqual(await denseOf(a.scales));
  });
});

test("weights that are not finite are refused with their place", async () => {
  const t = f32Tensor([1, Number.NaN, 3, 4], [2, 2]);
  await expect(denseOf(quantizeChannel(t, { bits: 8, axis: 0 }).data)).rejects.toMatchObject({
    code: "WEIGHT_NOT_FINITE",
    diagnostic: { details: { index: 1, value: "NaN" } },
  });
});

test("builders refuse what is not a float matrix or not a block size", () => {
  expect(() => quantizeChannel(castTensor(f32Tensor([1]), "i32"), { bits: 8, axis: 0 })).toThrow("quantize");
  expect(() => quantizeBlocks(f32Tensor([1]), { bits: 4, blockSize: 32, order: "KN" })).toThrow("matrix");
  expect(() => quantizeBlocks(f32Tensor([1], [1, 1]), { bits: 4, blockSize: 24, order: "KN" })).toThrow(
    "block",
  );
});
