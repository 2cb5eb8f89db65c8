import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { compile, passes, previewBuild, type Recipe } from "../../src/index.ts";
import { fileReader, readModel, writeModel } from "../../src/ir/onnx/index.ts";

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
    expect(lines.filter((l) => /any up to rank \d+/.test(l.what)).length).toBeGreaterThan(10);
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

  it("shows the ranks that convolutions will get", async () => {
    const of = recipe({ "factorize-conv": { budget: { ratio: 0.6 }, weighting: "none", score: false } });
    const lines = await linesOf(of);
    const made = (await applied(of, "factorize-conv")).filter((d) => d.node !== "");
    expect(made.length).toBeGreaterThan(3);
    for (const d of made) {
      const line = lines.find((l) => l.subject === d.node)!;
      expect(line.what).toContain(`${d.from}: ${d.to},`);
      expect(line.what).toContain(`${d.bytesBefore} bytes become ${d.bytesAfter}`);
    }
    const open = await linesOf(recipe({ "factorize-conv": { budget: { keep: 0.8 } } }));
    expect(open.filter((l) => /any up to ranks \d+, \d+/.test(l.what)).length).toBeGreaterThan(3);
  });

  it("shows the widths that heads will get, or what decides them", async () => {
    const of = recipe({ "factorize-attention": { budget: { ratio: 0.5 }, weighting: "none" } });
    const lines = await linesOf(of);
    const made = (await applied(of, "factorize-attention")).filter((d) => d.node !== "");
    expect(made.length).toBeGreaterThan(3);
    for (const d of made) {
      const { what } = lines.find((l) => l.subject === d.node)!;
      const side = what.split("; ").find((s) => s.startsWith(d.rule))!;
      expect(side).toContain(`of ${d.from}, ${d.bytesBefore} bytes`);
      expect(side).toContain(`become ${d.to!.replace("width ", "")} with ${d.bytesAfter} bytes`);
    }
    const open = await linesOf(recipe({ "factorize-attention": { budget: { energy: 0.99 } } }));
    expect(open.some((l) => /by their energy/.test(l.what))).toBe(true);
  });

  it("shows the tables that stand for the time path", async () => {
    const timesteps = [901, 601, 301, 1];
    const of = recipe({ "freeze-time": { timesteps } });
    const lines = await linesOf(of);
    const [made] = await applied(of, "freeze-time");
    expect(lines[0]!.what).toContain(`${made!.from} with ${made!.bytesBefore} bytes of weights`);
    expect(lines[0]!.what).toContain(`tables of 4 timesteps take ${made!.bytesAfter} bytes`);
    expect(lines.length - 1).toBe(made!.count);
    expect((await linesOf(recipe({ "freeze-time": {} })))[0]!.what).toContain("opt-in");
  });

  it("shows the branches that can go", async () => {
    const of = recipe({ "prune-blocks": { ratio: 0.1, calls: 1, stub: "none" } });
    const lines = await linesOf(of);
    const names = new Set(lines.slice(1).map((l) => l.subject));
    const gone = await applied(of, "prune-blocks");
    expect(gone.length).toBeGreaterThan(0);
    for (const d of gone) {
      expect(names.has(d.node)).toBe(true);
      expect(lines.find((l) => l.subject === d.node)!.what).not.toContain("more than the budget");
    }
  });

  it("shows the layers that could share a basis, and up to which rank it pays", async () => {
    const of = recipe({ "share-bases": { sqnr: 15 } });
    const lines = (await linesOf(of)).slice(1);
    const made = await applied(of, "share-bases");
    expect(made.length).toBeGreaterThan(0);
    for (const d of made) {
      const line = lines.find((l) => l.subject === d.node)!;
      expect(line.what).toContain(`: ${d.bytesBefore} bytes, `);
      const each = Number(/(\d+) a rank/.exec(line.what)![1]);
      const rank = Number(/\d+$/.exec(d.to!)![0]);
      expect(rank * each).toBe(d.bytesAfter);
      expect(rank).toBeLessThanOrEqual(Number(/\d+$/.exec(line.what)![0]));
    }
  });

  it("shows the formats that weights will get", async () => {
    const of = recipe({ "quantize-weights": { format: "w4", score: false } });
    const lines = await linesOf(of);
    const made = await applied(of, "quantize-weights");
    const four = lines.find((l) => l.what.includes(" in w4: "))!;
    const [count, before, after] = [...four.what.matchAll(/\d{2,}|\b\d(?= bytes)/g)].map((m) => Number(m[0]));
    const w4 = made.filter((d) => d.rule.startsWith("w4-"));
    const stored = w4.reduce((n, d) => n + d.bytesAfter!, 0);
    expect(count).toBe(w4.reduce((n, d) => n + (d.count ?? 1), 0));
    expect(before).toBe(w4.reduce((n, d) => n + d.bytesBefore!, 0));
    expect(after).toBe(before! / 8);
    // Scales and zero points come on top.
    expect(stored).toBeGreaterThan(after!);
    expect(stored).toBeLessThan(1.6 * after!);
  });

  it("is there for every pass that takes numbers away", () => {
    const families = ["prune", "sparsify", "factorize", "share", "freeze"];
    const blind = passes.filter((p) => families.includes(p.family) && p.preview === undefined);
    expect(blind.map((p) => p.name)).toEqual([]);
  });

  it("does without the files that weights lie in, which a build does not", async () => {
    const model = await readModel(join(FIXTURE, "unet/model.onnx"));
    const file = join(folder, "bare", "model.onnx");
    mkdirSync(dirname(file));
    await writeModel(model, file, { reader: fileReader(), external: { threshold: 1, total: 0 } });
    const of = recipe({ "factorize-conv": { budget: { ratio: 0.6 } } });
    const choices = { recipe: of, targets: ["cpu-x64"] };
    const whole = await previewBuild(file, choices);
    rmSync(`${file}.data`);
    const bare = await previewBuild(file, choices);
    expect(bare.passes[0]!.lines[0]!.what).toMatch(/^left out: /);
    expect(bare.passes.slice(1)).toEqual(whole.passes.filter((p) => p.pass === "factorize-conv"));
    const build = compile(file, { ...choices, out: join(folder, "none"), verify: false });
    await expect(build).rejects.toMatchObject({ code: "EXTERNAL_DATA_MISSING" });
  });
});
