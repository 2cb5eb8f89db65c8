import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, inlineTensor, type Tensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { dequantizeBlocks } from "../../src/runtime/kernels/dequantize.ts";
import { type BlockQuantized, quantizeBlocks } from "../../src/runtime/kernels/quantize-blocks.ts";
import { quantizeChannel } from "../../src/runtime/kernels/quantize-channel.ts";
import { quantizeScaled } from "../../src/runtime/kernels/quantize-scaled.ts";
import { reshapeTensor } from "../../src/runtime/kernels/reshape.ts";
import { floats, runtime, wave } from "../passes/harness.ts";

/** Claims of the descriptors marked `measured`, tested again on the pinned runtime. */

const WEIGHT = f32Tensor(
  Float32Array.from({ length: 64 * 32 }, (_, i) => Math.sin(i * 0.37) * Math.cos(i * 1.7)),
  [64, 32],
);
const Q = quantizeChannel(WEIGHT, { axis: 1, bits: 8 });

function product(weight: (b: ModelBuilder) => ValueId, opset = 21): Model {
  const b = new ModelBuilder({ opset });
  const x = b.input("x", "f32", [8, 64]);
  return b
    .output(b.node("MatMul", [x, weight(b)]), "y", { kind: "tensor", dtype: "f32", shape: [8, 32] })
    .build();
}

async function outcome(model: Model, optimize: "all" | "disable"): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize });
  try {
    return floats((await session.run(new Map([["x", wave([8, 64])]]))).get("y")!);
  } finally {
    await session.release();
  }
}

const castScales = (q: BlockQuantized): BlockQuantized => ({ ...q, scales: castTensor(q.scales, "f32") });

const dequantized = (b: ModelBuilder): ValueId =>
  b.node("DequantizeLinear", [b.constant(Q.data), b.constant(Q.scale)], { axis: 1 });
const folded = (b: ModelBuilder): ValueId =>
  b.node("Mul", [
    b.node("Cast", [b.constant(Q.data)], { to: 1 }),
    b.constant(reshapeTensor(Q.scale, [1, 32])),
  ]);

function sqnr(a: Float32Array, b: Float32Array): number {
  let [s, e] = [0, 0];
  for (const [i, v] of a.entries()) {
    s += v * v;
    e += (v - b[i]!) ** 2;
  }
  return 10 * Math.log10(s / e);
}

describe("CPU", () => {
  it("formats.w8: DequantizeLinear before MatMul is recomputed with 8-bit activations, Cast and Mul are folded", async () => {
    const dq = product(dequantized);
    expect(sqnr(await outcome(dq, "disable"), await outcome(dq, "all"))).toBeLessThan(70);
    const fold = product(folded);
    expect(sqnr(await outcome(fold, "disable"), await outcome(fold, "all"))).toBeGreaterThan(120);
  });

  it("formats.f16: a half weight behind a Cast gives the same as its float32 value", async () => {
    const half = castTensor(WEIGHT, "f16");
    const stored = product((b) => b.node("Cast", [b.constant(half)], { to: 1 }));
    const wide = product((b) => b.constant(castTensor(half, "f32")));
    expect(await outcome(stored, "all")).toEqual(await outcome(wide, "all"));
  });

  it("formats.bf16: products in bfloat16 have no kernel, storage in it works", async () => {
    const narrow = castTensor(WEIGHT, "bf16");
    const stored = product((b) => b.node("Cast", [b.constant(narrow)], { to: 1 }));
    expect((await outcome(stored, "all")).length).toBe(8 * 32);
    const b = new ModelBuilder({ opset: 21 });
    const x = b.node("Cast", [b.input("x", "f32", [8, 64])], { to: 16 });
    const y = b.node("Cast", [b.node("MatMul", [x, b.constant(narrow)])], { to: 1 });
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [8, 32] }).build();
    await expect(outcome(model, "all")).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  });

  it("formats.w4: int4 Cast, Mul and Reshape run and fold", async () => {
    const q = quantizeChannel(WEIGHT, { axis: 1, bits: 4 });
    const model = product((b) =>
      b.node("Mul", [
        b.node("Cast", [b.constant(q.data)], { to: 1 }),
        b.constant(reshapeTensor(q.scale, [1, 32])),
      ]),
    );
    expect(sqnr(await outcome(model, "disable"), await outcome(model, "all"))).toBeGreaterThan(120);
  });

  it("formats.w4: MatMulNBits is exact at level 0, less so at level 4, and zero there with computed scales", async () => {
    const q = quantizeBlocks(WEIGHT, { bits: 4, blockSize: 32, order: "KN", scaleType: "f16" });
    const at = (level: number, computed: boolean): Model => {
      const b = new ModelBuilder({ opset: 21, domains: { "com.microsoft": 1 } });
      const x = b.input("x", "f32", [8, 64]);
      const scales = computed
        ? b.node("Cast", [b.constant(q.scales)], { to: 1 })
        : b.constant(castTensor(q.scales, "f32"));
      const y = b.node(
        "MatMulNBits",
        [x, b.constant(q.packed), scales],
        { K: q.K, N: q.N, bits: 4, block_size: 32, accuracy_level: level },
        { domain: "com.microsoft" },
      );
      return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [8, 32] }).build();
    };
    const exact = await outcome(
      product((b) => b.constant(dequantizeBlocks(castScales(q), { bits: 4, blockSize: 32, order: "KN" }))),
      "disable",
    );
    for (const optimize of ["all", "disable"] as const) {
      expect(sqnr(exact, await outcome(at(0, true), optimize))).toBeGreaterThan(110);
      expect(sqnr(exact, await outcome(at(4, false), optimize))).toBeLessThan(60);
    }
    expect(sqnr(exact, await outcome(at(4, true), "all"))).toBeGreaterThan(20);
    expect((await outcome(at(4, true), "disable")).every((v) => v === 0)).toBe(true);
  });

  it("formats.w2: 2-bit MatMulNBits with zero points is exact at level 0; int2 Cast and Mul run and fold", async () => {
    const spec = { bits: 2, blockSize: 16, order: "KN" } as const;
    const q = quantizeBlocks(WEIGHT, { ...spec, symmetric: false });
    const b = new ModelBuilder({ opset: 25, domains: { "com.microsoft": 1 } });
    const y = b.node(
      "MatMulNBits",
      [b.input("x", "f32", [8, 64]), b.constant(q.packed), b.constant(q.scales), b.constant(q.zeroPoints!)],
      { K: q.K, N: q.N, bits: 2, block_size: 16, accuracy_level: 0 },
      { domain: "com.microsoft" },
    );
    const packed = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [8, 32] }).build();
    const exact = await outcome(
      product((p) => p.constant(dequantizeBlocks(q, spec))),
      "disable",
    );
    for (const optimize of ["all", "disable"] as const)
      expect(sqnr(exact, await outcome(packed, optimize))).toBeGreaterThan(110);
    const c = quantizeChannel(WEIGHT, { axis: 1, bits: 2 });
    const model = product(
      (p) =>
        p.node("Mul", [
          p.node("Cast", [p.constant(c.data)], { to: 1 }),
          p.constant(reshapeTensor(c.scale, [1, 32])),
        ]),
      25,
    );
    expect(sqnr(await outcome(model, "disable"), await outcome(model, "all"))).toBeGreaterThan(120);
  });

  it("integer: convolutions with looked-up scales and biases give the results of constants", async () => {
    const table = [0.5, 0.02];
    const conv = (lookUp: boolean): Model => {
      const b = new ModelBuilder({ opset: 21 });
      const x = b.node("Reshape", [b.input("x", "f32", [8, 64]), b.constant(i64Tensor([8, 4, 4, 4]))]);
      const row = b.constant(i64Tensor([1]));
      const of = (all: Tensor, one: Tensor): ValueId =>
        lookUp ? b.node("Gather", [b.constant(all), row], { axis: 0 }) : b.constant(one);
      const scale = of(f32Tensor(table), f32Tensor([table[1]!]));
      const zero = b.constant(inlineTensor("u8", [], Uint8Array.of(128)));
      const q = b.node("QuantizeLinear", [x, scale, zero]);
      const i32 = (v: readonly number[], dims: readonly number[]): Tensor =>
        inlineTensor("i32", dims, new Uint8Array(Int32Array.from(v).buffer));
      const bias = of(i32([1, 2, 3, 4], [2, 2]), i32([3, 4], [2]));
      const flat = lookUp ? b.node("Reshape", [bias, b.constant(i64Tensor([2]))]) : bias;
      const w = b.constant(inlineTensor("i8", [2, 4, 1, 1], Uint8Array.of(1, 2, 3, 250, 60, 200, 7, 9)));
      const one = b.constant(f32Tensor([0.03], []));
      const s8 = b.constant(inlineTensor("i8", [], Uint8Array.of(0)));
      const y = b.node("QLinearConv", [q, scale, zero, w, one, s8, one, zero, flat]);
      const out = b.node("DequantizeLinear", [y, one, zero]);
      return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: [8, 2, 4, 4] }).build();
    };
    for (const optimize of ["all", "disable"] as const) {
      const constant = await outcome(conv(false), optimize);
      expect(constant.some((v) => v !== 0)).toBe(true);
      expect(await outcome(conv(true), optimize)).toEqual(constant);
    }
  });

  it("integer: a dynamic product is exact but for its 8-bit input where weights cannot reach the limit", async () => {
    const x = floats(wave([8, 64]));
    const [low, high] = [Math.min(...x, 0), Math.max(...x, 0)];
    const step = (high - low) / 255;
    const zero = Math.round(-low / step);
    const ones = f32Tensor(new Float32Array(64).fill(1));
    const scale = f32Tensor(new Float32Array(32).fill(1 / 63));
    const q = quantizeScaled(WEIGHT, { outAxis: 1, inAxis: 0, factor: ones, scale });
    const w = new Int8Array(await (await runtime()).reader.read(q));
    const want = Float32Array.from({ length: 8 * 32 }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < 64; k++) {
        const a = Math.round(x[Math.floor(i / 32) * 64 + k]! / step) + zero;
        sum += (Math.min(255, Math.max(0, a)) - zero) * w[k * 32 + (i % 32)]!;
      }
      return (sum * step) / 63;
    });
    const b = new ModelBuilder({ opset: 21, domains: { "com.microsoft": 1 } });
    const y = b.node(
      "DynamicQuantizeMatMul",
      [b.input("x", "f32", [8, 64]), b.constant(q), b.constant(scale)],
      {},
      { domain: "com.microsoft" },
    );
    const dynamic = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [8, 32] }).build();
    for (const optimize of ["all", "disable"] as const)
      expect(sqnr(want, await outcome(dynamic, optimize))).toBeGreaterThan(60);
  });

  it("opset: 26 loads, 27 does not", async () => {
    const at = (opset: number): Model => product((b) => b.constant(WEIGHT), opset);
    await outcome({ ...at(26), irVersion: 13 }, "all");
    await expect(outcome({ ...at(27), irVersion: 13 }, "all")).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
  });

  it("compute: a value beyond the fp16 range is not an infinity", async () => {
    const big: Tensor = castTensor(f32Tensor([60000], []), "f16");
    const b = new ModelBuilder({ opset: 21 });
    const x = b.node("Cast", [b.input("x", "f32", [8, 64])], { to: 10 });
    const peak = b.node("MatMul", [
      x,
      b.constant(castTensor(f32Tensor(new Float32Array(64 * 32).fill(60000), [64, 32]), "f16")),
    ]);
    const y = b.node("Cast", [b.node("Div", [peak, b.constant(big)])], { to: 1 });
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [8, 32] }).build();
    const session = await (await runtime()).openSession(model, { optimize: "all" });
    const ones = {
      dtype: "f32" as const,
      dims: [8, 64],
      bytes: new Uint8Array(new Float32Array(8 * 64).fill(1).buffer),
    };
    const out = floats((await session.run(new Map([["x", ones]]))).get("y")!);
    await session.release();
    expect(out[0]).toBe(64);
  });
});
