import { beforeAll, describe, expect, it } from "vitest";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { rooflineCost } from "../../../src/targets/cost/roofline.ts";
import { target } from "../../../src/targets/index.ts";
import type { Target } from "../../../src/targets/target.ts";
import { ops } from "../harness.ts";
import { allocated as allocatedFor, BATCH, recorded, toy } from "./layers.ts";

let oracle: Oracle;
beforeAll(async () => {
  oracle = await recorded();
});

const allocated = (options: Parameters<typeof allocatedFor>[0], id: string | null = "cpu-x64") =>
  allocatedFor(options, { target: id === null ? null : target(id), oracle });

const MS = { s: 1e3, ms: 1, µs: 1e-3, ns: 1e-6 } as const;

/** Milliseconds that a text such as `11.8 µs` stands for. */
function milliseconds(text: string): number {
  const [value, unit] = text.split(" ");
  return Number(value) * MS[unit as keyof typeof MS];
}

/** Estimated milliseconds of the form a line took. */
function taken(d: Decision): number {
  const found = new RegExp(`(?:alone: |, )${d.to} \\d+ bytes ([\\d.]+ [mµn]?s) `).exec(d.why!);
  return milliseconds(found![1]!);
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

  it("refuses targets without a machine, and leaves integers out where the target has none", async () => {
    const { machine: _, ...bare } = target("webgpu");
    for (const without of [bare, null])
      await expect(
        allocatedFor({ budget: { latency: "90%" } }, { target: without, oracle }),
      ).rejects.toMatchObject({ code: "ALLOCATION_LATENCY_UNKNOWN" });
    const { decisions, formats } = await allocated({ budget: { averageBits: 9 } }, "webgpu");
    expect(decisions).toContainEqual(
      expect.objectContaining({ rule: "format", from: "a8w8", kind: "skipped" }),
    );
    expect(new Set(formats)).toEqual(new Set(["w8"]));
    expect(target("cpu-x64").integer?.dynamic).toBe(true);
  });
});

describe("the same budget on machines of other targets", () => {
  const FORMATS = ["w4", "w8", "f16", "a8w8"] as const;
  const total = (built: Awaited<ReturnType<typeof allocated>>): number[] =>
    /estimated at ([\d.]+ [mµn]?s) of ([\d.]+ [mµn]?s)/
      .exec(built.decisions.find((d) => d.rule === "allocation")!.why!)!
      .slice(1)
      .map(milliseconds);

  it.each([
    ["tensorrt", ["100%", "99%", "98.5%", "98%"], ["w4"]],
    ["cuda", ["100%", "99.4%", "98%"], ["w4", "w8"]],
    ["openvino:gpu", ["100%", "99%", "97%"], ["w4", "w8"]],
    ["cpu-x64", ["100%", "90%", "80%"], ["a8w8"]],
    ["cpu-x64:amx", ["100%", "90%", "75%"], ["a8w8"]],
    ["cpu-arm64", ["100%", "90%", "75%"], ["a8w8"]],
  ] as const)(
    "%s: a tighter one is never slower, and what was built is estimated as promised",
    async (id, budgets, fast) => {
      let [before, narrow] = [Number.POSITIVE_INFINITY, 0];
      for (const latency of budgets) {
        const built = await allocated({ formats: FORMATS, budget: { latency } }, id);
        const [after, start] = total(built);
        expect(after).toBeLessThanOrEqual((Number.parseFloat(latency) / 100) * start! * 1.001);
        expect(after).toBeLessThanOrEqual(before);
        before = after!;
        const { seconds } = rooflineCost(built.model, target(id), { bindings: { batch: BATCH } })!;
        expect(Math.abs(1e3 * seconds - after!) / after!).toBeLessThan(0.002);
        const found = built.formats.filter((f) => (fast as readonly string[]).includes(f)).length;
        expect(found).toBeGreaterThanOrEqual(narrow);
        narrow = found;
      }
      expect(narrow).toBeGreaterThan(0);
    },
  );

  it("says which machine the estimate is of, and what it leaves out", async () => {
    const { decisions } = await allocated({ formats: FORMATS, budget: { latency: "99%" } }, "tensorrt");
    expect(decisions.find((d) => d.rule === "estimate")).toMatchObject({
      kind: "applied",
      why: expect.stringMatching(/µs now and may take .* µs.* roofline of an H100 SXM: published peaks/),
    });
    const { graph } = (await allocated({ formats: FORMATS, budget: { latency: "98%" } }, "tensorrt")).model;
    const widened = [...graph.nodes()].filter((n) => n.op === "DequantizeLinear");
    expect(widened.length).toBeGreaterThan(0);
    // The target takes zero points of 0 only, whatever the format that weights have by default.
    for (const n of widened) expect(n.inputs[2] ?? null).toBeNull();
    const { machine, ...rest } = target("tensorrt");
    const slow: Target = { ...rest, machine: { ...machine!, flops: { i8: 1e12 } } };
    const blind = await allocatedFor(
      { formats: FORMATS, budget: { latency: "99%" } },
      { target: slow, oracle },
    );
    expect(blind.decisions.filter((d) => d.rule === "estimate")).toContainEqual(
      expect.objectContaining({ kind: "downgraded", why: expect.stringContaining("products in f32") }),
    );
  });

  it("estimates the denoiser before on every target", () => {
    for (const id of ["tensorrt", "cuda", "cpu-x64"]) {
      const found = rooflineCost(toy(), target(id), { bindings: { batch: BATCH } })!;
      expect(found.open).toEqual([]);
      expect(found.seconds).toBeGreaterThan(0);
    }
  });
});
