import { beforeAll, describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/dense.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { allocateBits } from "../../../src/passes/quantize/allocate-bits.ts";
import { target } from "../../../src/targets/index.ts";
import { recordOracle } from "../../calibrate/oracle.ts";
import { run } from "../../targets/harness.ts";
import { ops, runtime } from "../harness.ts";

const [WIDTH, WIDE, SIDE, BATCH] = [64, 512, 4, 8];
/** How loudly each layer speaks in the output. */
const LOUD = [1, 0.01, 10, 0.1];
const NAMES = LOUD.map((_, i) => `layer${i}`);
const INTS = target("cpu-x64");

/** A denoiser whose output is a sum of wide layers of very different weight; one reads its weight turned. */
function toy(): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("sample", "f32", ["batch", WIDTH, SIDE, SIDE]);
  b.input("timestep", "i64", [1]);
  const flat = b.node("Reshape", [x, b.constant(i64Tensor([0, WIDTH, SIDE * SIDE]))]);
  const mixed = b.node("Tanh", [b.node("Transpose", [flat], { perm: [0, 2, 1] })]);
  let sum: ValueId | null = null;
  for (const [i, loud] of LOUD.entries()) {
    const w = f32Tensor(gaussian(createRng(2, "w", i), WIDTH * WIDE), [WIDTH, WIDE]);
    const y = b.node("MatMul", [mixed, b.constant(w, `w${i}`)], {}, { name: NAMES[i]! });
    const biased = b.node("Add", [y, b.constant(f32Tensor(gaussian(createRng(3, i), WIDE), [WIDE]))]);
    const parts = b.node("Reshape", [
      b.node("Sin", [biased]),
      b.constant(i64Tensor([0, SIDE * SIDE, WIDE / WIDTH, WIDTH])),
    ]);
    const small = b.node("ReduceSum", [parts, b.constant(i64Tensor([2]))], { keepdims: 0 });
    const scaled = b.node("Mul", [small, b.constant(f32Tensor([loud], []))]);
    sum = sum === null ? scaled : b.node("Add", [sum, scaled]);
  }
  const back = b.node("Transpose", [sum!], { perm: [0, 2, 1] });
  const out = b.node("Reshape", [back, b.constant(i64Tensor([0, WIDTH, SIDE, SIDE]))]);
  return b
    .output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: ["batch", WIDTH, SIDE, SIDE] })
    .build();
}

let oracle: Oracle;
beforeAll(async () => {
  const calls = [999, 500, 20].map((timestep) => ({
    timestep,
    weight: 1,
    feeds: new Map([
      [
        "sample",
        denseFrom(
          "f32",
          [BATCH, WIDTH, SIDE, SIDE],
          gaussian(createRng(4, timestep), BATCH * WIDTH * SIDE * SIDE),
        ),
      ],
      ["timestep", denseFrom("i64", [1], [timestep])],
    ]),
  }));
  oracle = await recordOracle({
    model: toy(),
    runtime: await runtime(),
    calls,
    output: "out_sample",
    guidance: 1,
    halves: 1,
  });
});

type Options = Partial<Parameters<typeof allocateBits.run>[1]>;

async function allocated(options: Options, id: string | null = "cpu-x64") {
  const model = toy();
  const decisions = await run(
    model,
    allocateBits,
    { formats: ["w8", "a8w8"], guards: false, refine: 4, calls: 3, seeds: BATCH, ...options },
    { target: id === null ? null : target(id), oracle },
  );
  const lines = decisions.filter((d) => NAMES.includes(d.node) && d.rule.startsWith("allocate"));
  return { model, decisions, lines, formats: lines.map((d) => d.to!) };
}

/** Estimated milliseconds of the form a line took. */
function taken(d: Decision): number {
  const found = new RegExp(`(?:alone: |, )${d.to} \\d+ bytes ([\\d.e-]+) ms`).exec(d.why!);
  return Number(found![1]);
}

describe("allocate-bits under a budget of latency", () => {
  it("runs the layers the output hears least on integers, within the budget, and says what each would take", async () => {
    const floats = await allocated({ budget: { latency: "100%" } });
    expect(floats.formats).toEqual(["w8", "w8", "w8", "w8"]);
    const { lines, formats, model } = await allocated({ budget: { latency: "90%" } });
    expect(formats[2]).toBe("w8");
    expect(formats[1]).toBe("a8w8");
    const integers = formats.filter((f) => f === "a8w8").length;
    expect(ops(model).filter((op) => op === "com.microsoft:DynamicQuantizeMatMul")).toHaveLength(integers);
    const saved = floats.lines.reduce((n, d) => n + taken(d), 0) - lines.reduce((n, d) => n + taken(d), 0);
    expect(saved).toBeGreaterThan(0);
    const more = await allocated({ budget: { latency: "80%" } });
    expect(more.formats.filter((f) => f === "a8w8").length).toBeGreaterThan(integers);
  });

  it("scores integers as the emitted operator computes them", async () => {
    const { model, decisions } = await allocated({ budget: { latency: "85%" }, metric: "quality" });
    const errors = await oracle.errors(model);
    const reported = decisions.find((d) => d.rule === "allocation")!.error!.value;
    expect(Math.abs(errors.mean - reported)).toBeLessThan(0.05);
    expect(reported).toBeLessThan(60);
  });

  it("takes milliseconds, and refuses what integers cannot reach", async () => {
    await expect(allocated({ budget: { latency: "10%" } })).rejects.toMatchObject({
      code: "ALLOCATION_IMPOSSIBLE",
      diagnostic: { details: { unit: "ms" } },
    });
    const { formats } = await allocated({ budget: { latency: 1e6 } });
    expect(formats).toEqual(["w8", "w8", "w8", "w8"]);
  });

  it("weighs integers by their bytes under other budgets", async () => {
    const { formats } = await allocated({ budget: { averageBits: 9 }, formats: ["a8w8", "f32"] });
    expect(formats).toEqual(["a8w8", "a8w8", "a8w8", "a8w8"]);
  });

  it("refuses targets without estimates, and leaves integers out where the target has none", async () => {
    await expect(allocated({ budget: { latency: "90%" } }, "webgpu")).rejects.toMatchObject({
      code: "ALLOCATION_LATENCY_UNKNOWN",
    });
    await expect(allocated({ budget: { latency: "90%" } }, null)).rejects.toMatchObject({
      code: "ALLOCATION_LATENCY_UNKNOWN",
    });
    const { decisions, formats } = await allocated({ budget: { averageBits: 9 } }, "webgpu");
    expect(decisions).toContainEqual(
      expect.objectContaining({ rule: "format", from: "a8w8", kind: "skipped" }),
    );
    expect(new Set(formats)).toEqual(new Set(["w8"]));
    expect(INTS.integer?.dynamic).toBe(true);
  });
});
