import { describe, expect, it } from "vitest";
import { remarks } from "../../cli/render/remarks.ts";
import type { TargetReport } from "../../src/index.ts";

type Parts = Partial<Pick<TargetReport, "downgrades" | "leavesAccelerator" | "notes">>;

function said(targets: Readonly<Record<string, Parts>>): string[] {
  const none = { downgrades: [], leavesAccelerator: null, notes: [] };
  return remarks(
    Object.fromEntries(
      Object.entries(targets).map(([id, t]) => [id, { ...none, ...t } as unknown as TargetReport]),
    ),
  );
}

const down = (node: string) => ({
  kind: "downgraded" as const,
  pass: "quantize-weights",
  component: "unet",
  node,
  rule: "no-format",
  from: "w8",
  to: "f16",
  why: "x",
});
const leaves = (op: string) => ({ component: "unet", node: op, op, why: "no kernel" });

describe("remarks", () => {
  it("says once what holds for several targets", () => {
    expect(said({ a: { notes: ["n"] }, b: { notes: ["n", "m"] }, c: {} })).toEqual([
      expect.stringMatching(/note.* a, b: n$/),
      expect.stringMatching(/note.* b: m$/),
    ]);
    expect(said({ a: { notes: ["n"] }, b: { notes: ["n"] }, c: { notes: ["n"] } })).toEqual([
      expect.stringMatching(/note.* all targets: n$/),
    ]);
  });

  it("counts nodes of equal reasons, and names the only one", () => {
    expect(said({ a: { downgrades: [down("p"), down("q")] }, b: { downgrades: [down("p")] } })).toEqual([
      expect.stringMatching(/a: w8 → f16: x \(2 nodes\)$/),
      expect.stringMatching(/b: w8 → f16: x \(p\)$/),
    ]);
  });

  it("lists eight kinds of downgrades and counts the others", () => {
    const downgrades = Array.from({ length: 11 }, (_, i) => ({ ...down("p"), why: `reason ${i}` }));
    const lines = said({ a: { downgrades } });
    expect(lines).toHaveLength(9);
    expect(lines.at(-1)).toMatch(/3 more kinds in the report$/);
  });

  it("counts what leaves the accelerator by operator", () => {
    expect(said({ a: { leavesAccelerator: [leaves("Sin"), leaves("Cos"), leaves("Sin")] } })).toEqual([
      expect.stringMatching(/leaves the accelerator.* a: 2 Sin, 1 Cos$/),
    ]);
  });
});
