import { describe, expect, it } from "vitest";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { findPass } from "../../src/passes/index.ts";
import { resolveTargets, target, targets } from "../../src/targets/index.ts";
import { finishPlan, legalisePlan } from "../../src/targets/legalise.ts";
import { LOWERINGS } from "../../src/targets/lower/index.ts";
import type { Target, WeightFormat } from "../../src/targets/target.ts";

/** Fields of a descriptor that need a claim; plain float formats and portable spellings included. */
function claimed(t: Target): string[] {
  const formats = (Object.keys(t.formats) as WeightFormat[]).filter(
    (f) => f !== "f32" || t.formats.f32.note !== undefined,
  );
  return [
    "provider",
    "opset",
    "shapes",
    ...formats.map((f) => `formats.${f}`),
    "compute",
    ...Object.keys(t.spelling).map((s) => `spelling.${s}`),
    "integer",
    "palettes",
    "sparsity",
    "half",
    "align",
    ...(t.machine === undefined ? [] : ["machine"]),
  ];
}

/** What is wrong with the sources of a target. */
function sourceProblems(t: Target): string[] {
  const fields = new Set(t.sources.map((s) => s.field));
  const known = new Set(claimed(t));
  return [
    ...claimed(t)
      .filter((f) => !fields.has(f))
      .map((f) => `${f} has no source`),
    ...[...fields].filter((f) => !known.has(f)).map((f) => `${f} is not a field`),
    ...t.sources
      .filter((s) => s.claim.length < 20 || s.source.length < 3 || !/^\d{4}-\d\d-\d\d$/.test(s.checked))
      .map((s) => `the source of ${s.field} is empty or has no date`),
  ];
}

describe.each(targets.map((t) => ({ id: t.id, t })))("$id", ({ t }) => {
  it("backs every field with a dated source", () => {
    expect(sourceProblems(t)).toEqual([]);
  });
  it("is plain data", () => {
    expect(JSON.parse(JSON.stringify(t))).toEqual(t);
  });
  it("falls back, with a reason, exactly where a format is not supported, and only to a supported one", () => {
    for (const f of Object.values(t.formats)) {
      const missing = f.gemm === null || f.conv === null;
      expect(f.fallback !== undefined && f.why !== undefined).toBe(missing);
      if (f.fallback !== undefined) expect(t.formats[f.fallback].gemm).not.toBeNull();
    }
  });
  it("says why, exactly where it has no integer arithmetic", () => {
    expect(t.integerWhy !== undefined).toBe(t.integer === null);
  });
  it("computes in the types it converts to", () => {
    for (const f of ["f16", "bf16"] as const)
      if (t.formats[f].use === "compute") expect(t.compute).toContain(f);
  });
  it("plans registered passes with options they know, opset first", () => {
    const steps = [...legalisePlan(t), ...finishPlan(t)];
    expect(steps[0]).toEqual({ name: "convert-opset", options: { opset: t.opset.emit } });
    for (const s of steps) {
      const pass = findPass(s.name);
      expect(pass?.effect, s.name).toBe("exact");
      const known = Object.keys((pass!.options["properties"] ?? {}) as object);
      expect(known).toEqual(expect.arrayContaining(Object.keys(s.options)));
    }
  });
  it("has a way to write every operator it does not want", () => {
    for (const row of LOWERINGS) {
      const wanted = t.spelling[row.capability];
      const keeps = row.op === wanted || row.op === wanted.replace("com.microsoft.", "com.microsoft:");
      const family = wanted === "QuickGelu" || wanted === "com.microsoft.Gelu";
      if (!keeps && !family) expect(row.to, `${row.op} on ${t.id}`).toHaveProperty([wanted]);
    }
  });
});

describe("sources", () => {
  it("a target without one is rejected", () => {
    const [t] = targets;
    const bare: Target = { ...t!, sources: t!.sources.filter((s) => s.field !== "formats.w8") };
    expect(sourceProblems(bare)).toEqual(["formats.w8 has no source"]);
    expect(sourceProblems({ ...t!, sources: [{ ...t!.sources[0]!, checked: "last week" }] })).toContain(
      "the source of provider is empty or has no date",
    );
  });
});

describe("look-up", () => {
  const failure = (f: () => unknown): DiffpressError => {
    try {
      f();
    } catch (e) {
      if (e instanceof DiffpressError) return e;
    }
    throw new Error("it did not fail");
  };
  it("names the nearest target", () => {
    const e = failure(() => target("cpu-x86"));
    expect(e.code).toBe("TARGET_UNKNOWN");
    expect(e.diagnostic.details).toEqual({
      target: "cpu-x86",
      nearest: "cpu-x64",
      known: targets.map((t) => t.id),
    });
    expect(failure(() => target("toaster")).diagnostic.details).toMatchObject({ nearest: null });
  });
  it("resolves lists, each target once, and all", () => {
    expect(resolveTargets(["webgpu", "cpu-x64", "webgpu"]).map((t) => t.id)).toEqual(["webgpu", "cpu-x64"]);
    expect(resolveTargets(["qnn-htp", "all"]).map((t) => t.id)).toEqual(["qnn-htp", "cpu-x64", "webgpu"]);
    expect(failure(() => resolveTargets(["al"])).diagnostic.details).toMatchObject({ nearest: "all" });
  });
});
