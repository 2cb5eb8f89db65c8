import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Model } from "../../../src/ir/graph.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { RULES } from "../../../src/targets/check/rules/index.ts";
import type { CheckFinding } from "../../../src/targets/check/types.ts";
import { target, targets } from "../../../src/targets/index.ts";
import { type Lab, type MiniRule, openLab } from "./lab.ts";
import { compilers } from "./minis-compilers.ts";
import { gpus } from "./minis-gpu.ts";
import { npus } from "./minis-npu.ts";
import { runnable } from "./minis-runnable.ts";

/** Rules about files, whose graphs cannot be broken: `files.test.ts` has theirs. */
const OF_FILES = ["GEN-2"];

const minis = Object.entries({ ...runnable, ...compilers, ...gpus, ...npus }).map(([title, row]) => ({
  title,
  id: title.split(",")[0]!,
  row,
}));

let runtime: Runtime;
let lab: Lab;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  lab = await openLab(runtime);
});
afterAll(() => runtime.close());

async function found(id: string, row: MiniRule, model: Model): Promise<readonly CheckFinding[]> {
  const ranges = row.ranges === undefined ? {} : { ranges: row.ranges };
  const [check] = await checkModel(model, [target(row.target)], ranges);
  return check!.findings.filter((f) => f.rule === id);
}

describe("the rule table", () => {
  it("has every seed rule once", () => {
    const seeds = {
      GEN: 8,
      CPU: 5,
      CUDA: 4,
      TRT: 6,
      DML: 1,
      WGPU: 3,
      MGX: 1,
      QNN: 5,
      OV: 1,
      VAI: 1,
      CML: 1,
      FP16: 1,
    };
    const wanted = Object.entries(seeds).flatMap(([area, n]) =>
      Array.from({ length: n }, (_, i) => `${area}-${i + 1}`),
    );
    const ids = RULES.map((r) => r.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(wanted).toHaveLength(37);
    expect(wanted.filter((id) => !ids.includes(id))).toEqual([]);
  });
  it("has a graph that each rule accepts and one that it rejects", () => {
    const told = new Set([...minis.map((m) => m.id), ...OF_FILES]);
    expect(RULES.map((r) => r.id).filter((id) => !told.has(id))).toEqual([]);
    expect([...told].filter((id) => !RULES.some((r) => r.id === id))).toEqual([]);
    for (const { row } of minis) expect(row.reject.length).toBeGreaterThan(0);
  });
  it("proves exactly the rules that say so", () => {
    const proven = new Set([...minis.filter((m) => m.row.proof !== undefined).map((m) => m.id), ...OF_FILES]);
    expect(
      RULES.filter((r) => r.confirmed)
        .map((r) => r.id)
        .sort(),
    ).toEqual([...proven].sort());
  });
  it.each(RULES.map((rule) => ({ id: rule.id, rule })))(
    "$id says where it is from and applies to some target",
    ({ rule }) => {
      expect(rule.claim.length).toBeGreaterThan(20);
      expect(rule.source.length).toBeGreaterThan(3);
      expect(rule.runtime.length).toBeGreaterThan(3);
      const [group, field] = rule.capability.split(".");
      const applies = targets.filter((t) => rule.applies(t));
      const variants = targets.flatMap((t) =>
        Object.keys(t.variants?.of ?? {}).map((v) => target(`${t.id}:${v}`)),
      );
      const all = [...applies, ...variants.filter((t) => rule.applies(t))];
      expect(all.length).toBeGreaterThan(0);
      for (const t of all) {
        const data = t[group as keyof typeof t] as Readonly<Record<string, unknown>>;
        expect(field === undefined ? data : data[field]).toBeDefined();
      }
    },
  );
});

describe.each(minis)("$title", ({ id, row }) => {
  it("accepts", async () => {
    expect(await found(id, row, row.accept())).toEqual([]);
  });
  it("rejects, and says where", async () => {
    for (const [i, make] of row.reject.entries()) {
      const findings = await found(id, row, make());
      expect(findings.length, `graph ${i}`).toBeGreaterThan(0);
      for (const f of findings) expect(f.why.length).toBeGreaterThan(10);
    }
  });
});

describe("shown by the runtime", () => {
  it.each(minis.filter((m) => m.row.proof !== undefined))("$title", async ({ row }) => {
    for (const reject of row.reject) await row.proof!(lab, { accept: row.accept(), reject: reject() });
  });
});
