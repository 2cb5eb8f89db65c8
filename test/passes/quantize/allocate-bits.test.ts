import { beforeAll, describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/dense.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { modelBytes } from "../../../src/ir/weights.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { allocateBits } from "../../../src/passes/quantize/allocate-bits.ts";
import type { Choice } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { target } from "../../../src/targets/index.ts";
import type { Target } from "../../../src/targets/target.ts";
import { recordOracle } from "../../calibrate/oracle.ts";
import { run } from "../../targets/harness.ts";
import { runtime } from "../harness.ts";

const WIDTH = 64;
/** How loudly each layer speaks in the output; the third is heard most, the last one hardly. */
const LOUD = [1, 0.3, 10, 0.01, 3, 0.001];
const NAMES = LOUD.map((_, i) => `layer${i}`);

/** A denoiser whose output is a sum of layers with very different weight, so that the best allocation is plain. */
function toy(): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("sample", "f32", ["batch", WIDTH, 2, 2]);
  const states = b.input("encoder_hidden_states", "f32", ["batch", 1, WIDTH]);
  b.input("timestep", "i64", [1]);
  const shape = b.constant({
    dtype: "i64",
    dims: [3],
    source: { kind: "inline", bytes: new Uint8Array(BigInt64Array.of(0n, BigInt(WIDTH), 4n).buffer) },
  });
  const flat = b.node("Transpose", [b.node("Reshape", [x, shape])], { perm: [0, 2, 1] });
  const mixed = b.node("Tanh", [b.node("Add", [flat, states])]);
  let sum: ValueId | null = null;
  for (const [i, loud] of LOUD.entries()) {
    const w = f32Tensor(gaussian(createRng(2, "w", i), WIDTH * WIDTH), [WIDTH, WIDTH]);
    const y = b.node("MatMul", [mixed, b.constant(w, `w${i}`)], {}, { name: NAMES[i]! });
    const scaled = b.node("Mul", [b.node("Sin", [y]), b.constant(f32Tensor([loud], []))]);
    sum = sum === null ? scaled : b.node("Add", [sum, scaled]);
  }
  const back = b.node("Transpose", [sum!], { perm: [0, 2, 1] });
  const dims = b.node("Shape", [x]);
  const out = b.node("Reshape", [back, dims]);
  return b.output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: ["batch", WIDTH, 2, 2] }).build();
}

let oracle: Oracle;
beforeAll(async () => {
  const calls = [999, 500, 20].map((timestep) => {
    const half = gaussian(createRng(4, "x", timestep), 4 * WIDTH * 4);
    const states = gaussian(createRng(4, "c"), 8 * WIDTH);
    return {
      timestep,
      weight: 1,
      feeds: new Map([
        [
          "sample",
          denseFrom(
            "f32",
            [8, WIDTH, 2, 2],
            Float32Array.from({ length: 2 * half.length }, (_, i) => half[i % half.length]!),
          ),
        ],
        ["encoder_hidden_states", denseFrom("f32", [8, 1, WIDTH], states)],
        ["timestep", denseFrom("i64", [1], [timestep])],
      ]),
    };
  });
  oracle = await recordOracle({
    model: toy(),
    runtime: await runtime(),
    calls,
    output: "out_sample",
    guidance: 2,
    halves: 2,
  });
});

type Options = Partial<Parameters<typeof allocateBits.run>[1]>;

async function allocated(
  options: Options,
  given: Oracle | null = oracle,
): Promise<{ model: Model; decisions: readonly Decision[]; formats: Record<string, string> }> {
  const model = toy();
  const decisions = await run(
    model,
    allocateBits,
    { formats: ["w4", "w8", "f16"], guards: false, refine: 6, calls: 3, seeds: 4, ...options },
    { target: target("cpu-x64"), oracle: given },
  );
  const lines = decisions.filter((d) => NAMES.includes(d.node) && d.rule.startsWith("allocate"));
  return { model, decisions, formats: Object.fromEntries(lines.map((d) => [d.node, d.to!])) };
}

describe("allocate-bits", () => {
  it("gives bits to the layers the output listens to", async () => {
    const { formats, decisions } = await allocated({ budget: { averageBits: 6.5 } });
    expect(formats).toEqual({
      layer0: "w4",
      layer1: "w4",
      layer2: "w8",
      layer3: "w4",
      layer4: "w8",
      layer5: "w4",
    });
    expect(decisions.find((d) => d.rule === "additivity")?.why).toMatch(/median (0\.9|1)/);
  });

  it("stays within the budget in stored bytes and says what it stored", async () => {
    const before = modelBytes(toy());
    for (const budget of [{ bytes: 20_000 }, { bytes: "22%" }, { averageBits: 5.2 }] as const) {
      const { model, decisions } = await allocated({ budget });
      await run(model, removeDead, {}, { target: target("cpu-x64") });
      const stored = decisions
        .filter((d) => NAMES.includes(d.node) && d.rule.startsWith("allocate"))
        .reduce((n, d) => n + d.bytesAfter!, 0);
      const written = decisions
        .filter((d) => NAMES.includes(d.node) && !d.rule.startsWith("allocate"))
        .reduce((n, d) => n + d.bytesAfter!, 0);
      expect(written, "what is written is what was counted").toBe(stored);
      const limit =
        "averageBits" in budget
          ? (5.2 / 8) * LOUD.length * WIDTH * WIDTH
          : typeof budget.bytes === "number"
            ? budget.bytes
            : 0.22 * before;
      expect("averageBits" in budget ? stored : modelBytes(model)).toBeLessThanOrEqual(limit);
      expect(stored).toBeGreaterThan(0.75 * limit);
    }
  });

  it("measures the network it emits: the reported dB is that of the written graph", async () => {
    const { model, decisions } = await allocated({ budget: { averageBits: 6 }, metric: "quality" });
    const errors = await oracle.errors(model);
    const reported = decisions.find((d) => d.rule === "allocation")!.error!.value;
    expect(Math.abs(errors.mean - reported)).toBeLessThan(0.05);
  });

  it("beats every other allocation of the same bytes it could have chosen", async () => {
    const budget = { averageBits: 6.5 };
    const { model, formats } = await allocated({ budget, formats: ["w4", "w8"], metric: "quality" });
    const own = (await oracle.errors(model)).mean;
    const eights = Object.values(formats).filter((f) => f === "w8").length;
    for (let mask = 0; mask < 64; mask++) {
      if ([...mask.toString(2)].filter((c) => c === "1").length !== eights) continue;
      const other = toy();
      const assign = Object.fromEntries(
        NAMES.map((n, i): [string, Choice] => [n, (mask >> i) & 1 ? "w8" : "w4"]),
      );
      await run(other, quantizeWeights, { assign }, { target: target("cpu-x64") });
      expect((await oracle.errors(other)).mean).toBeLessThanOrEqual(own + 1e-3);
    }
  });

  it("is deterministic", async () => {
    const rt = await runtime();
    const options = { budget: { averageBits: 6 } };
    const [a, b] = [await allocated(options), await allocated(options)];
    expect(b.decisions).toEqual(a.decisions);
    expect(await encodeModel(b.model, rt.reader)).toEqual(await encodeModel(a.model, rt.reader));
  });

  it("explains every choice", async () => {
    const { decisions } = await allocated({ budget: { averageBits: 6 } });
    const line = decisions.find((d) => d.node === "layer2" && d.rule.startsWith("allocate"))!;
    expect(line.why).toMatch(
      /^alone: w4 \d+ bytes [\d.]+ dB, w8 \d+ bytes [\d.]+ dB, f16 8192 bytes [\d.]+ dB$/,
    );
    expect(decisions.find((d) => d.rule === "allocation")!.why).toMatch(
      /dB for one more of the budget's bytes$/,
    );
  });

  it("keeps quality and content apart", async () => {
    const content = await allocated({ budget: { averageBits: 5.6 }, metric: "content" });
    const quality = await allocated({ budget: { averageBits: 5.6 }, metric: "quality" });
    const value = (d: readonly Decision[], re: RegExp): number =>
      Number(re.exec(d.find((x) => x.rule === "allocation")!.why!)![1]);
    const ofContent = /([\d.]+) dB of what the condition does/;
    const ofQuality = /^([\d.]+) dB mean/;
    expect(value(content.decisions, ofContent)).toBeGreaterThanOrEqual(value(quality.decisions, ofContent));
    expect(value(quality.decisions, ofQuality)).toBeGreaterThanOrEqual(value(content.decisions, ofQuality));
  });

  it("weighs multiplications when asked", async () => {
    const { formats } = await allocated({ budget: { flopBits: 6.5 } });
    expect(Object.values(formats).filter((f) => f === "w8").length).toBeGreaterThan(0);
  });

  it("refuses budgets below the smallest forms, before measuring anything", async () => {
    const never: Oracle = { ...oracle, open: () => Promise.reject(new Error("measured")) };
    await expect(allocated({ budget: { averageBits: 3 } }, never)).rejects.toMatchObject({
      code: "ALLOCATION_IMPOSSIBLE",
    });
  });

  it("falls back to the weights' own errors without a trajectory, and says so", async () => {
    const { decisions, formats } = await allocated({ budget: { averageBits: 6.5 } }, null);
    expect(decisions).toContainEqual(expect.objectContaining({ kind: "downgraded", rule: "sensitivity" }));
    expect(Object.keys(formats)).toEqual(NAMES);
  });
});

describe("quantize-weights, assign", () => {
  it("goes before format, guards and selection", async () => {
    const model = toy();
    const decisions = await run(
      model,
      quantizeWeights,
      {
        format: "w8",
        edges: "none",
        exclude: "layer1",
        assign: { layer0: "f32", layer1: "w4", layer5: "f16" },
      },
      { target: target("cpu-x64") },
    );
    const to = (name: string): string | undefined =>
      decisions.find((d) => d.node === name && d.kind === "applied")?.to;
    expect(NAMES.map(to)).toEqual([undefined, "w4", "w8", "w8", "w8", "f16"]);
    expect([...model.graph.nodes()].filter((n) => n.op === "MatMulNBits")).toHaveLength(1);
  });

  it("refuses names that no layer has, with the nearest", async () => {
    const model = toy();
    await expect(
      run(model, quantizeWeights, { assign: { layr3: "w8" } }, { target: target("cpu-x64") }),
    ).rejects.toMatchObject({ code: "LAYER_UNKNOWN", diagnostic: { details: { nearest: "layer3" } } });
  });

  it("says when the target cannot store the format", async () => {
    const cpu = target("cpu-x64");
    const none: Target = {
      ...cpu,
      formats: { ...cpu.formats, w4: { gemm: null, conv: null, why: "no kernel" } },
    };
    const decisions = await run(toy(), quantizeWeights, { assign: { layer3: "w4" } }, { target: none });
    expect(decisions).toContainEqual({
      node: "layer3",
      kind: "downgraded",
      rule: "assigned-format",
      why: "no kernel",
      from: "w4",
      to: "f32",
    });
  });
});
