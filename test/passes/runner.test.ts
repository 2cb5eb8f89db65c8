import { describe, expect, it } from "vitest";
import { fixture } from "../../fixtures/build/index.ts";
import { DiffpressError, fail } from "../../src/diagnostics/index.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import { PatchBuilder } from "../../src/ir/patch.ts";
import { printGraph } from "../../src/ir/print.ts";
import { passes, resolvePass } from "../../src/passes/index.ts";
import { type Decision, definePass } from "../../src/passes/pass.ts";
import { mergeDecisions, type RunnerOptions, runPass } from "../../src/passes/runner.ts";

const options = (more: Partial<RunnerOptions> = {}): RunnerOptions => ({
  evaluator: { run: () => Promise.reject(new Error("nothing runs here")) },
  reader: { read: () => Promise.reject(new Error("nothing is read here")) },
  target: null,
  seed: 0,
  ranges: null,
  trail: ["first"],
  ...more,
});

function pass(run: Parameters<typeof definePass<unknown>>[0]["run"]) {
  return definePass<unknown>({
    name: "test-pass",
    family: "clean",
    summary: "for tests",
    doc: "",
    effect: "exact",
    options: {},
    version: 1,
    run,
  });
}

describe("running a pass", () => {
  it("refuses to start without an option that has a default: a limit left out would be no limit", async () => {
    const fold = resolvePass("fold-constants");
    const model = fixture("tiny-unet").build();
    await expect(runPass(model, fold, {}, options())).rejects.toThrow(/without its options maxBytes/);
  });

  it("measures time by the given clock, memory by the given meter, and whether anything changed", async () => {
    const model = fixture("tiny-unet").build();
    let time = 1000;
    const now = (): number => (time += 250);
    const idle = await runPass(
      model,
      pass(() => {}),
      {},
      options({ now, memory: () => 7 }),
    );
    expect(idle).toMatchObject({ seconds: 0.25, peakBytes: 7, changed: false });
    const report = await runPass(
      model,
      pass((graph) => {
        const patch = new PatchBuilder(graph, "test");
        patch.node({ op: "Identity", inputs: [graph.inputs[0]!] });
        patch.apply();
      }),
      {},
      options(),
    );
    expect(report).toMatchObject({ changed: true, seconds: 0 });
    expect(report!.nodesAfter).toBe(report!.nodesBefore + 1);
  });

  it("collects statistics of the model as it is, or of another one; nothing when it cannot be sampled", async () => {
    const model = fixture("tiny-unet").build();
    const other = cloneModel(model);
    const request = { values: [], grams: [] };
    const found = { calls: [], value: () => undefined, gram: () => undefined };
    const asked: unknown[] = [];
    const got: unknown[] = [];
    const asking = pass(async (_graph, _options, ctx) => {
      got.push(await ctx.collect(request), await ctx.collect(request, other));
      got.push(await ctx.collectCross([], other));
    });
    const collect: RunnerOptions["collect"] = async (of) => {
      asked.push(of);
      return found;
    };
    await runPass(model, asking, {}, options({ collect }));
    await runPass(model, asking, {}, options());
    expect(asked).toEqual([model, other]);
    expect(got).toEqual([found, found, null, null, null, null]);
  });

  it("names the pass and those before it when one fails, and keeps the code", async () => {
    const model = fixture("tiny-unet").build();
    const coded = pass(() => fail("GRAPH_INVALID", { where: "here", problem: "broken" }));
    await expect(runPass(model, coded, {}, options())).rejects.toMatchObject({
      code: "GRAPH_INVALID",
      message: expect.stringContaining('in pass "test-pass", after first'),
    });
    const bug = pass(() => {
      throw new Error("oops");
    });
    const outcome = runPass(model, bug, {}, options());
    await expect(outcome).rejects.toThrow('in pass "test-pass", after first: oops');
    await expect(outcome).rejects.not.toBeInstanceOf(DiffpressError);
  });

  it("refuses a graph the pass has broken and hands over the last good text", async () => {
    const model = fixture("tiny-unet").build();
    const before = printGraph(model);
    const dumped: [string, string][] = [];
    const breaking = pass((graph) => {
      const node = [...graph.nodes()][0]!;
      graph._nodes.delete(node.id);
      graph.version++;
    });
    const dump = (file: string, text: string): void => void dumped.push([file, text]);
    await expect(runPass(model, breaking, {}, options({ debug: 2, dump }))).rejects.toMatchObject({
      code: "PASS_BROKE_GRAPH",
      diagnostic: { details: { pass: "test-pass", after: ["first"] } },
    });
    expect(dumped).toEqual([["last-good.txt", before]]);
  });

  it("stops when the number of passes is used up or the run is aborted", async () => {
    const model = fixture("tiny-unet").build();
    const budget = { left: 1 };
    expect(
      await runPass(
        model,
        pass(() => {}),
        {},
        options({ budget }),
      ),
    ).not.toBeNull();
    expect(
      await runPass(
        model,
        pass(() => {}),
        {},
        options({ budget }),
      ),
    ).toBeNull();
    const signal = AbortSignal.abort();
    await expect(
      runPass(
        model,
        pass(() => {}),
        {},
        options({ signal }),
      ),
    ).rejects.toMatchObject({ code: "INTERRUPTED" });
  });
});

describe("merging decisions", () => {
  it("counts equal applied lines beyond forty and keeps everything else", () => {
    const line = (k: number): Decision => ({
      node: `n${k}`,
      kind: "applied",
      rule: "r",
      bytesBefore: 4,
      bytesAfter: 1,
    });
    const all: Decision[] = Array.from({ length: 100 }, (_, k) => line(k));
    all.push({ node: "s", kind: "skipped", rule: "r", why: "because" });
    const merged = mergeDecisions(all);
    expect(merged).toHaveLength(42);
    expect(merged[40]).toMatchObject({ node: "", count: 60, bytesBefore: 240, bytesAfter: 60 });
    expect(merged[41]).toMatchObject({ node: "s" });
  });
});

describe("copies of a model", () => {
  it("do not see each other's patches and give new nodes the same names", () => {
    for (const name of ["tiny-unet", "tiny-dit"]) {
      const original = fixture(name).build();
      const text = printGraph(original);
      const copies = [cloneModel(original), cloneModel(original)];
      for (const { graph } of copies) {
        const patch = new PatchBuilder(graph, "test");
        patch.node({ op: "Identity", inputs: [graph.inputs[0]!] });
        patch.apply();
      }
      expect(printGraph(original)).toBe(text);
      expect(printGraph(copies[0]!)).toBe(printGraph(copies[1]!));
      expect(printGraph(copies[0]!)).not.toBe(text);
    }
  });
});

describe("the registry", () => {
  it("names every pass once, by its file name, with documented options", () => {
    expect(new Set(passes.map((p) => p.name)).size).toBe(passes.length);
    for (const p of passes) {
      expect(p.name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(p.doc.length).toBeGreaterThan(40);
      const properties = (p.options["properties"] ?? {}) as Record<string, Record<string, unknown>>;
      for (const [name, schema] of Object.entries(properties)) {
        expect(schema, `${p.name}.${name}`).toHaveProperty("description");
        expect(schema, `${p.name}.${name}`).toHaveProperty("default");
      }
    }
  });
});
