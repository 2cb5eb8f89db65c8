import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { floatAttr, type Model } from "../../src/ir/graph.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { CPU_LIMITS } from "../../src/targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../../src/targets/twin.ts";
import { floats, ops, runtime, wave } from "../passes/harness.ts";

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
