import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cloneModel } from "../../../src/ir/clone.ts";
import { elementCount } from "../../../src/ir/dtype.ts";
import { attrInt, type Model, type Node } from "../../../src/ir/graph.ts";
import { PatchBuilder } from "../../../src/ir/patch.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { miniValue } from "../../../src/numeric/minifloat.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { dequantizeNvfp4, quantizeNvfp4 } from "../../../src/runtime/kernels/nvfp4.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { resolveTargets, target, targets } from "../../../src/targets/index.ts";
import { denseOf, numbersOf, weights } from "../../runtime/kernels/evaluate.ts";
import { run } from "../../targets/harness.ts";
import { runtime } from "../harness.ts";
import { FEEDS, named } from "./built.ts";
import { denoiser } from "./denoiser.ts";
import { outputsOn, sqnr } from "./quantized.ts";

const ALL: Partial<QuantizeWeightsOptions> = {
  format: "f4",
  minElements: 64,
  edges: "none",
  sensitive: "none",
};
const LINEAR = [
  ["linear", 0, [24, 48]],
  ["back", 0, [48, 16]],
  ["gemm", 1, [32, 16]],
] as const;

async function quantized(options: Partial<QuantizeWeightsOptions>, id = "tensorrt") {
  const model = denoiser();
  const decisions = await run(model, quantizeWeights, { ...ALL, ...options }, { target: target(id) });
  return { model, decisions };
}

const fours = (model: Model): Node[] =>
  [...model.graph.nodes()].filter((n) => model.graph.constant(n.inputs[0])?.dtype === "f4e2m1");

const bytesOf = async (t: Tensor): Promise<Uint8Array> => (await runtime()).reader.read(t);

/** What two nested conversions stand for, decoded from their bytes one element at a time. */
async function decoded(
  { graph }: Model,
  dq: Node,
): Promise<{ values: Float32Array; dims: readonly number[] }> {
  const inner = graph.producer(dq.inputs[1])!;
  expect([inner.op, inner.inputs.length, dq.inputs.length]).toEqual(["DequantizeLinear", 2, 2]);
  const [data, scale, one] = [dq.inputs[0], inner.inputs[0], inner.inputs[1]].map(
    (id) => graph.constant(id)!,
  );
  expect([scale!.dtype, one!.dtype, one!.dims]).toEqual(["f8e4m3fn", "f32", []]);
  const [codes, scales, global] = [await bytesOf(data!), await bytesOf(scale!), await bytesOf(one!)];
  const unit = new DataView(global.slice().buffer).getFloat32(0, true);
  const axis = attrInt(dq, "axis")!;
  expect(attrInt(dq, "block_size")).toBe(16);
  const [, columns] = data!.dims as [number, number];
  const values = Float32Array.from({ length: elementCount(data!.dims) }, (_, i) => {
    const nibble = (codes[i >> 1]! >> (i % 2 === 0 ? 0 : 4)) & 15;
    const [r, c] = [Math.floor(i / columns), i % columns];
    const at = axis === 0 ? Math.floor(r / 16) * columns + c : r * (columns / 16) + Math.floor(c / 16);
    return miniValue("f4e2m1", nibble) * Math.fround(miniValue("f8e4m3fn", scales[at]!) * unit);
  });
  return { values, dims: data!.dims };
}

/** The same model with every 4-bit weight written out in float, which runs here. */
async function plainTwin(model: Model): Promise<Model> {
  const twin = cloneModel(model);
  const patch = new PatchBuilder(twin.graph, "twin");
  for (const dq of fours(twin)) {
    const { values, dims } = await decoded(twin, dq);
    patch.redirect(dq.outputs[0]!, patch.constant(f32Tensor(values, dims), "twin"));
    patch.remove(dq.id).remove(twin.graph.producer(dq.inputs[1])!.id);
  }
  patch.apply();
  return twin;
}

/** The denoiser with normal noise on two weights, so many decibels below them. */
async function noisy(layers: readonly { name: string; db: number }[], seed: number): Promise<Model> {
  const model = denoiser();
  const patch = new PatchBuilder(model.graph, "noise");
  const rng = createRng(seed, "noise");
  for (const { name, db } of layers) {
    const [id] = named(model, name).inputs.slice(1);
    const { dims } = model.graph.constant(id)!;
    const w = new Float32Array((await bytesOf(model.graph.constant(id)!)).slice().buffer);
    const size = Math.sqrt(w.reduce((a, b) => a + b * b, 0) / w.length) * 10 ** (-db / 20);
    const off = w.map((v) => v + size * rng.normal());
    patch.redirect(id!, patch.constant(f32Tensor(off, dims), "noisy"));
  }
  patch.apply();
  return model;
}

describe("NVFP4 tensors", () => {
  it("take hand-computed bytes, blocks along either axis", async () => {
    // One block of 16 that reaches 6, one that reaches 3, and one of zeros: 448, 224 and the least number, of 1/448.
    const block = [0.5, 1, -6, 1.5, 3, 2, 4, -4, 0, 0, 0, 0, 0, 0, 0, 0.25];
    const x = [...block, ...block.map((v) => v / 2), ...block.map(() => 0)];
    const codes = [0x21, 0x3f, 0x45, 0xe6, 0, 0, 0, 0x00];
    const rows = quantizeNvfp4(f32Tensor(x, [1, 48]), 1);
    expect([...(await denseOf(rows.data)).bytes]).toEqual([...codes, ...codes, ...codes.map(() => 0)]);
    expect([...(await denseOf(rows.scale)).bytes]).toEqual([0x7e, 0x76, 0x01]);
    expect(await numbersOf(rows.global)).toEqual([Math.fround(1 / 448)]);
    const columns = quantizeNvfp4(
      f32Tensor(
        x.slice(0, 32).flatMap((v) => [v, 0]),
        [32, 2],
      ),
      0,
    );
    expect(columns.scale.dims).toEqual([2, 2]);
    expect([...(await denseOf(columns.scale)).bytes]).toEqual([0x7e, 0x01, 0x76, 0x01]);
    expect([...(await denseOf(columns.data)).bytes].slice(0, 5)).toEqual([0x01, 0x02, 0x0f, 0x03, 0x05]);
  });

  it("are rounded to the nearest number of their block, in either layout", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1000), fc.constantFrom<0 | 1>(0, 1), async (seed, axis) => {
        const dims = axis === 0 ? [32, 6] : [6, 32];
        const x = weights(192, seed);
        const q = quantizeNvfp4(f32Tensor(x, dims), axis);
        const [back, scale, [global]] = [
          await numbersOf(dequantizeNvfp4(q, axis)),
          await numbersOf(q.scale),
          await numbersOf(q.global),
        ];
        for (const [i, v] of x.entries()) {
          const [r, c] = [Math.floor(i / dims[1]!), i % dims[1]!];
          const at = axis === 0 ? Math.floor(r / 16) * 6 + c : r * 2 + Math.floor(c / 16);
          const unit = scale[at]! * global!;
          const off = [0, 0.5, 1, 1.5, 2, 3, 4, 6].map((n) => Math.abs(Math.abs(v) - n * unit));
          // Two products are rounded to single precision on the way back.
          expect(Math.abs(back[i]! - v)).toBeLessThanOrEqual(Math.min(...off) + Math.abs(v) * 2 ** -22);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("have no scale of 0, also where a block is far below the rest", async () => {
    const x = Float32Array.from({ length: 48 }, (_, i) => (i < 16 ? 1 : i < 32 ? 1e-9 : 0));
    const q = quantizeNvfp4(f32Tensor(x, [1, 48]), 1);
    expect((await numbersOf(q.scale)).every((s) => s > 0)).toBe(true);
    expect((await numbersOf(dequantizeNvfp4(q, 1))).slice(16).every((v) => Object.is(v, 0))).toBe(true);
  });
});

describe("quantize-weights to f4", () => {
  it("writes linear layers as conversions of conversions at opset 23; convolutions stay float, and are named", async () => {
    const { model, decisions } = await quantized({ match: "conv|back|gemm" });
    expect(model.opsets.get("")).toBe(23);
    expect(fours(model).length).toBe(2);
    for (const [name, axis, dims] of LINEAR.slice(1)) {
      const dq = model.graph.producer(named(model, name).inputs[1]!)!;
      expect([attrInt(dq, "axis"), attrInt(dq, "block_size")]).toEqual([axis, 16]);
      const data = model.graph.constant(dq.inputs[0])!;
      expect(data.dims).toEqual(dims);
      expect((await bytesOf(data)).length).toBe(elementCount(dims) / 2);
    }
    const left = decisions.filter((d) => d.kind === "skipped" && d.rule === "weight-format");
    expect(left.map((d) => d.node)).toEqual(["conv"]);
    const done = decisions.filter((d) => d.rule === "f4-dequantize-nvfp4");
    expect(done.map((d) => d.bytesAfter)).toEqual([384 + 48 + 4, 256 + 32 + 4]);
    for (const d of done) expect(d.error!.value).toBeGreaterThan(18);
  });

  it("leaves layers whose inputs no block divides", async () => {
    // "linear" sums 24 elements.
    const { model, decisions } = await quantized({ match: "linear" });
    expect(fours(model)).toEqual([]);
    expect(decisions).toContainEqual(
      expect.objectContaining({
        kind: "skipped",
        node: "linear",
        why: expect.stringMatching(/multiple of 16/),
      }),
    );
  });

  it("means what its plain twin computes, which the runtime here runs, while it does not run the build", async () => {
    const { model, decisions } = await quantized({});
    const exact = await outputsOn(denoiser(), FEEDS);
    const twin = await plainTwin(model);
    expect(fours(twin)).toEqual([]);
    // What weights lose is all that is lost: noise of the same energy does the same to the output, give or take a seed.
    const lost = decisions.flatMap((d) =>
      d.error === undefined ? [] : [{ name: d.node, db: d.error.value }],
    );
    expect(lost.map((l) => l.name)).toEqual(["back", "gemm"]);
    const noise: number[] = [];
    for (let seed = 0; seed < 8; seed++)
      noise.push(sqnr(exact, await outputsOn(await noisy(lost, seed), FEEDS)));
    expect(sqnr(exact, await outputsOn(twin, FEEDS))).toBeGreaterThan(Math.min(...noise));
    for (const dq of fours(model)) {
      const { values, dims } = await decoded(model, dq);
      const name = model.graph.node(model.graph.users(dq.outputs[0]!)[0]!).name;
      const original = denoiser();
      const w = await bytesOf(
        original.graph.constant(named(original, name.replace(/_\d+$/, "")).inputs[1]!)!,
      );
      const plain = await numbersOf(
        dequantizeNvfp4(
          quantizeNvfp4(f32Tensor(new Float32Array(w.slice().buffer), dims), attrInt(dq, "axis") as 0 | 1),
          attrInt(dq, "axis") as 0 | 1,
        ),
      );
      expect([...values]).toEqual(plain);
    }
    await expect(outputsOn(model, FEEDS)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  });

  it.each(["tensorrt", "tensorrt-rtx"])("%s: its checker refuses nothing", async (id) => {
    const { model } = await quantized({}, id);
    expect(fours(model).length).toBe(2);
    const { reader } = await runtime();
    const [check] = await checkModel(model, resolveTargets([id]), { reader });
    expect(check!.findings.filter((f) => f.severity !== "slow")).toEqual([]);
  });

  it("is 4-bit integers where the target has no such floats, and a reason", async () => {
    for (const t of [null, ...targets.filter((t) => t.formats.f4 === undefined)]) {
      const decisions = await run(denoiser(), quantizeWeights, ALL, { target: t, peaks: {} });
      const [first] = decisions.filter((d) => d.rule === "weight-format" && d.kind === "downgraded");
      expect(first).toMatchObject({ from: "f4", to: "w4" });
    }
  });

  it("says what methods and branches it does not take, and refuses zeros", async () => {
    const { decisions } = await quantized({ match: "back", lowRank: 4, sequential: 3 });
    expect(decisions).toContainEqual(expect.objectContaining({ rule: "weight-method", to: "rtn" }));
    expect(decisions).toContainEqual(expect.objectContaining({ rule: "sequential", kind: "skipped" }));
    const sparse = { pattern: "2:4" } as const;
    await expect(quantized({ method: "gptq", sparse })).rejects.toMatchObject({ code: "SPARSE_CONFLICT" });
  });
});
