import { describe, expect, it } from "vitest";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { findPass } from "../../src/passes/index.ts";
import { resolveTargets, target, targetNames, targets } from "../../src/targets/index.ts";
import { finishPlan, legalisePlan } from "../../src/targets/legalise.ts";
import { LOWERINGS } from "../../src/targets/lower/index.ts";
import type { Target, WeightFormat } from "../../src/targets/target.ts";
import { targetFolder } from "../../src/targets/variant.ts";

/** Fields of a descriptor that need a claim; plain float formats and portable spellings included. */
function claimed(t: Target): string[] {
  const formats = (Object.keys(t.formats) as WeightFormat[]).filter(
    (f) => f !== "f32" || t.formats.f32.note !== undefined,
  );
  const variants = Object.values(t.variants?.of ?? {}).map((v) => v.overrides);
  return [
    "provider",
    "opset",
    "shapes",
    ...formats.map((f) => `formats.${f}`),
    "compute",
    ...Object.keys(t.spelling).map((s) => `spelling.${s}`),
    "integer",
    ...([t, ...variants].some((v) => v.integer?.moves !== undefined) ? ["integer.moves"] : []),
    ...(t.int64 === undefined ? [] : ["int64"]),
    "palettes",
    "sparsity",
    "half",
    "align",
    ...(t.packedAttention === undefined ? [] : ["packedAttention"]),
    ...(t.machine === undefined ? [] : ["machine"]),
    ...new Set(
      [t, ...variants].flatMap(({ limits }) => Object.keys(limits ?? {}).map((name) => `limits.${name}`)),
    ),
    ...Object.keys(t.variants?.of ?? {}).map((v) => `variants.${v}`),
  ];
}

/** Whether a claim on `source` backs `field`: the field itself, or the group it belongs to. */
const backs = (source: string, field: string): boolean => field === source || field.startsWith(`${source}.`);

/** What is wrong with the sources of a target. */
function sourceProblems(t: Target): string[] {
  const fields = [...new Set(t.sources.map((s) => s.field))];
  const known = claimed(t);
  return [
    ...known.filter((f) => !fields.some((s) => backs(s, f))).map((f) => `${f} has no source`),
    ...fields.filter((s) => !known.some((f) => backs(s, f))).map((f) => `${f} is not a field`),
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
    const provider = t!.sources.find((s) => s.field === "provider")!;
    const bare: Target = { ...t!, sources: t!.sources.filter((s) => s.field !== "formats.w8") };
    expect(sourceProblems(bare)).toEqual(["formats.w8 has no source"]);
    expect(sourceProblems({ ...t!, sources: [{ ...provider, checked: "last week" }] })).toContain(
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
      known: targetNames,
    });
    expect(failure(() => target("toaster")).diagnostic.details).toMatchObject({ nearest: null });
  });
  it("resolves lists, each target once, and all", () => {
    expect(resolveTargets(["webgpu", "cpu-x64", "webgpu"]).map((t) => t.id)).toEqual(["webgpu", "cpu-x64"]);
    const others = targets.map((t) => t.id).filter((id) => id !== "qnn-htp");
    expect(resolveTargets(["qnn-htp", "all"]).map((t) => t.id)).toEqual(["qnn-htp", ...others]);
    expect(failure(() => resolveTargets(["al"])).diagnostic.details).toMatchObject({ nearest: "all" });
  });
});

describe("variants", () => {
  const varied = targets.filter((t) => t.variants !== undefined);
  it.each(varied.map((t) => ({ id: t.id, t })))("$id: the default is the target itself", ({ id, t }) => {
    const { default: first, of } = t.variants!;
    expect(Object.keys(of)).toContain(first);
    expect(of[first]!.overrides).toEqual({});
    expect(target(`${id}:${first}`)).toBe(t);
  });
  it.each(varied.flatMap((t) => Object.keys(t.variants!.of).map((v) => ({ name: `${t.id}:${v}`, t, v }))))(
    "$name differs from its target in what it overrides alone, and is a whole target",
    ({ name, t, v }) => {
      const chosen = target(name);
      const { overrides } = t.variants!.of[v]!;
      expect(chosen.sources).toBe(t.sources);
      for (const [limit, value] of Object.entries(chosen.limits))
        if (overrides.limits === undefined || !(limit in overrides.limits))
          expect(value).toBe(t.limits[limit as keyof typeof t.limits]);
      for (const f of Object.values(chosen.formats)) {
        expect(f.fallback !== undefined).toBe(f.gemm === null || f.conv === null);
        if (f.fallback !== undefined) expect(chosen.formats[f.fallback].gemm).not.toBeNull();
      }
      expect(chosen.integerWhy !== undefined).toBe(chosen.integer === null);
    },
  );
  it("folders of variants have names every file system takes", () => {
    for (const name of targetNames) expect(targetFolder({ id: name })).toMatch(/^[a-z0-9.+-]+$/);
    expect(new Set(targetNames.map((id) => targetFolder({ id }))).size).toBe(targetNames.length);
    expect(targetFolder(target("tensorrt:11.x"))).toBe("tensorrt-11.x");
  });
});
