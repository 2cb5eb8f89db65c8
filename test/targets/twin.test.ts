import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { floatAttr, type Model } from "../../src/ir/graph.ts";
import { f32Tensor, inlineTensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { CPU_LIMITS } from "../../src/targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../../src/targets/twin.ts";
import { floats, ops, runtime, wave } from "../passes/harness.ts";

/** A product with a weight of all E2M1 numbers in blocks of 16, whose E4M3FN scales stand behind one of fp32. */
function nvfp4Model(): { readonly model: Model; readonly weight: readonly number[] } {
  const b = new ModelBuilder({ opset: 23 });
  const x = b.input("x", "f32", [2, 32]);
  const codes = new Uint8Array(32 * 4).map((_, i) => (((2 * i + 1) % 16) << 4) | ((2 * i) % 16));
  // 0.5, 1, 2 and 4.
  const scales = Uint8Array.of(
    0x30,
    0x38,
    0x40,
    0x48,
    0x38,
    0x30,
    0x48,
    0x40,
    0x30,
    0x38,
    0x40,
    0x48,
    0x38,
    0x30,
    0x48,
    0x40,
  );
  const unit = b.constant(f32Tensor([0.25], []));
  const scale = b.node("DequantizeLinear", [b.constant(inlineTensor("f8e4m3fn", [2, 8], scales)), unit]);
  const w = b.node("DequantizeLinear", [b.constant(inlineTensor("f4e2m1", [32, 8], codes)), scale], {
    axis: 0,
    block_size: 16,
  });
  const model = b
    .output(b.node("MatMul", [x, w]), "y", { kind: "tensor", dtype: "f32", shape: [2, 8] })
    .build();
  const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const weight = Array.from({ length: 256 }, (_, i) => {
    const code = i % 16;
    const size = E2M1[code % 8]! * (code < 8 ? 1 : -1);
    const at = scales[(i < 128 ? 0 : 8) + (i % 8)]!;
    return size * 2 ** ((at >> 3) - 7) * 0.25;
  });
  return { model, weight };
}

interface Case {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly groups: number;
  readonly each: number;
  readonly epsilon: number;
  readonly activation: 0 | 1;
  readonly last: boolean;
  readonly half: boolean;
}

const dimsOf = (c: Case): number[] => {
  const channels = c.groups * c.each;
  return c.last ? [c.batch, c.height, c.width, channels] : [c.batch, channels, c.height, c.width];
};
const gammaOf = (n: number): number[] => Array.from({ length: n }, (_, i) => 1 + Math.sin(i * 1.3));
const betaOf = (n: number): number[] => Array.from({ length: n }, (_, i) => Math.cos(i * 0.9) - 0.2);

/** A model that is one GroupNorm between fp32 ports; in half precision between Casts, gamma and beta fp32 as ever. */
function groupNormModel(c: Case): Model {
  const channels = c.groups * c.each;
  const b = new ModelBuilder({ opset: 20, domains: { "com.microsoft": 1 } });
  const x = b.input("x", "f32", dimsOf(c));
  const data = c.half ? b.node("Cast", [x], { to: 10 }) : x;
  const y = b.node(
    "GroupNorm",
    [data, b.constant(f32Tensor(gammaOf(channels))), b.constant(f32Tensor(betaOf(channels)))],
    {
      groups: c.groups,
      activation: c.activation,
      channels_last: c.last ? 1 : 0,
      epsilon: floatAttr(c.epsilon),
    },
    { domain: "com.microsoft" },
  );
  const out = c.half ? b.node("Cast", [y], { to: 1 }) : y;
  return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** GroupNorm by its definition, element by element, in double precision. */
function groupNorm(x: Float32Array, c: Case): Float64Array {
  const channels = c.groups * c.each;
  const pixels = c.height * c.width;
  const [gamma, beta] = [gammaOf(channels), betaOf(channels)].map((v) => Float32Array.from(v));
  const at = (n: number, p: number, ch: number): number =>
    c.last ? (n * pixels + p) * channels + ch : (n * channels + ch) * pixels + p;
  const out = new Float64Array(x.length);
  for (let n = 0; n < c.batch; n++)
    for (let g = 0; g < c.groups; g++) {
      const members: [number, number][] = [];
      for (let k = 0; k < c.each; k++)
        for (let p = 0; p < pixels; p++) members.push([at(n, p, g * c.each + k), g * c.each + k]);
      const mean = members.reduce((s, [i]) => s + x[i]!, 0) / members.length;
      const variance = members.reduce((s, [i]) => s + (x[i]! - mean) ** 2, 0) / members.length;
      for (const [i, ch] of members) {
        const v = ((x[i]! - mean) / Math.sqrt(variance + c.epsilon)) * gamma![ch]! + beta![ch]!;
        out[i] = c.activation === 1 ? v / (1 + Math.exp(-v)) : v;
      }
    }
  return out;
}

async function run(model: Model, x: ReturnType<typeof wave>): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  try {
    return floats((await session.run(new Map([["x", x]]))).get("y")!);
  } finally {
    await session.release();
  }
}

/** Numbers as half precision holds them. */
async function halved(x: Float32Array, dims: readonly number[]): Promise<Float32Array> {
  const tensor = castTensor(castTensor(f32Tensor(x, dims), "f16"), "f32");
  return new Float32Array((await (await runtime()).reader.read(tensor)).slice().buffer);
}

const cases = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  height: fc.integer({ min: 1, max: 5 }),
  width: fc.integer({ min: 1, max: 5 }),
  groups: fc.integer({ min: 1, max: 5 }),
  each: fc.integer({ min: 1, max: 6 }),
  epsilon: fc.constantFrom(1e-6, 1e-5, 1e-3),
  activation: fc.constantFrom(0 as const, 1 as const),
  last: fc.boolean(),
  half: fc.boolean(),
});

describe("GroupNorm", () => {
  it("has a twin that computes what its definition says, in both layouts and types", async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.integer({ min: 0, max: 1000 }), async (c, phase) => {
        const x = wave(dimsOf(c), phase);
        const twin = plainTwin(groupNormModel(c), CPU_LIMITS)!;
        expect(ops(twin)).not.toContain("com.microsoft:GroupNorm");
        const seen = c.half ? await halved(floats(x), x.dims) : floats(x);
        const want = groupNorm(seen, c);
        const got = await run(twin, x);
        for (const [i, v] of want.entries()) {
          // Half precision rounds the result once: half a unit in the last of 11 bits.
          const tolerance = c.half ? Math.abs(v) * 2 ** -11 + 2 ** -24 : 0;
          expect(Math.abs(got[i]! - v)).toBeLessThanOrEqual(tolerance + 1e-5);
        }
      }),
      { numRuns: 40 },
    );
  });
});

const ONE: Case = {
  batch: 1,
  height: 3,
  width: 2,
  groups: 2,
  each: 4,
  epsilon: 1e-5,
  activation: 1,
  last: true,
  half: false,
};

describe("a plain twin", () => {
  it("is needed: the model itself does not load", async () => {
    await expect(run(groupNormModel(ONE), wave(dimsOf(ONE)))).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
  });
  it("keeps every value by id and name, and leaves the model alone", () => {
    const model = groupNormModel(ONE);
    const before = ops(model);
    const twin = plainTwin(model, CPU_LIMITS)!;
    for (const v of model.graph.values()) expect(twin.graph.value(v.id).name).toBe(v.name);
    expect(ops(model)).toEqual(before);
    expect(twinnedOperators(model, CPU_LIMITS)).toEqual(new Map([["com.microsoft:GroupNorm", 1]]));
  });
  it("is not made where the provider has the kernels", () => {
    expect(plainTwin(groupNormModel(ONE), { noKernel: [] })).toBeNull();
    const plain = new ModelBuilder({ opset: 20 });
    const relu = plain.node("Relu", [plain.input("x", "f32", [2])]);
    const model = plain.output(relu, "y", { kind: "tensor", dtype: "f32", shape: [2] }).build();
    expect(plainTwin(model, CPU_LIMITS)).toBeNull();
  });
});

describe("weights in 4-bit floats", () => {
  it("are read in a wider type that holds them exactly, one constant for all readers", async () => {
    const { model, weight } = nvfp4Model();
    expect(twinnedOperators(model, CPU_LIMITS)).toEqual(new Map([["DequantizeLinear of f4e2m1", 1]]));
    const twin = plainTwin(model, CPU_LIMITS)!;
    expect(ops(twin)).toEqual(ops(model));
    expect(plainTwin(twin, CPU_LIMITS)).toBeNull();
    const data = wave([2, 32]);
    const rt = await runtime();
    await expect(rt.openSession(model)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
    for (const optimize of ["disable", "all"] as const) {
      const session = await rt.openSession(twin, { optimize });
      const y = floats((await session.run(new Map([["x", data]]))).get("y")!);
      await session.release();
      const x = floats(data);
      for (const [i, v] of y.entries()) {
        const [row, column] = [Math.floor(i / 8), i % 8];
        const exact = Array.from({ length: 32 }, (_, k) => x[row * 32 + k]! * weight[k * 8 + column]!);
        expect(v).toBeCloseTo(
          exact.reduce((a, c) => a + c, 0),
          4,
        );
      }
    }
  });
});
