import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { compile, previewBuild, type Recipe } from "../../src/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "diffpress-preview-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = (...passes: NonNullable<Recipe["passes"]>): Recipe => ({
  extends: "exact",
  passes: ["clean", ...passes],
});

async function linesOf(of: Recipe) {
  const { passes } = await previewBuild(FIXTURE, { recipe: of, targets: ["cpu-x64"] });
  return passes.flatMap((p) => p.lines.map((l) => ({ pass: p.pass, ...l })));
}

/** What the pass of that name did; equal lines are merged in reports, with their number. */
async function applied(of: Recipe, pass: string) {
  const out = join(folder, pass);
  const { report } = await compile(FIXTURE, { recipe: of, targets: ["cpu-x64"], out, verify: false });
  const run = report.targets["cpu-x64"]!.passes.find((p) => p.name === pass)!;
  return run.decisions.filter((d) => d.kind === "applied");
}

describe("a dry run", () => {
  it("shows the groups that pruning chooses from, and what all of them save", async () => {
    const lines = await linesOf(recipe({ "prune-structures": { ratio: 0.1 } }));
    const groups = lines.filter((l) => / units of /.test(l.what));
    expect(groups.length).toBeGreaterThan(10);
    expect(groups.some((l) => l.what.startsWith("heads:"))).toBe(true);
    expect(groups.some((l) => l.what.startsWith("inner:"))).toBe(true);
    const [before, asked, floor] = [...lines[0]!.what.matchAll(/([\d.]+) MFLOP/g)].map((m) => Number(m[1]));
    expect(asked! / before!).toBeCloseTo(0.9, 3);
    expect(floor!).toBeLessThan(asked!);
    const names = new Set(groups.map((l) => l.subject));
    const plain = recipe({
      "prune-structures": { ratio: 0.1, score: "magnitude", repair: false, allocate: "uniform" },
    });
    const cut = (await applied(plain, "prune-structures")).filter((d) => d.node !== "");
    expect(cut.length).toBeGreaterThan(0);
    for (const d of cut) expect(names.has(d.node)).toBe(true);
  });

  it("shows the ranks that factorization will use", async () => {
    const of = recipe({ "factorize-linear": { budget: { ratio: 0.6 }, weighting: "none", merge: false } });
    const lines = await linesOf(of);
    const made = (await applied(of, "factorize-linear")).filter((d) => d.node !== "");
    expect(made.length).toBeGreaterThan(10);
    for (const d of made) {
      const line = lines.find((l) => l.subject === d.node)!;
      expect(line.what).toContain(`: ${d.to},`);
      expect(line.what).toContain(`${d.bytesBefore} bytes become ${d.bytesAfter}`);
    }
  });

  it("says up to which rank factors pay where spectra decide", async () => {
    const lines = await linesOf(recipe({ "factorize-linear": { budget: { keep: 0.8 } } }));
    expect(lines.filter((l) => /any rank up to \d+/.test(l.what)).length).toBeGreaterThan(10);
  });

  it("shows how many weights become zero", async () => {
    const of = recipe({ "sparsify-weights": { method: "magnitude", repair: "none", pattern: "2:4" } });
    const lines = await linesOf(of);
    const made = await applied(of, "sparsify-weights");
    const weights = made.filter((d) => d.rule.startsWith("magnitude"));
    expect(lines.length - 1).toBe(weights.reduce((n, d) => n + (d.count ?? 1), 0));
    for (const l of lines.slice(1)) {
      const [zeros, all] = /^(\d+) of (\d+)/.exec(l.what)!.slice(1).map(Number);
      expect(zeros).toBe(all! / 2);
    }
  });
});
