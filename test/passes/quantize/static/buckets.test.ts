import { describe, expect, it } from "vitest";
import { bucketRanges, inBucket } from "../../../../src/ir/buckets.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { passGroups, resolvePass } from "../../../../src/passes/index.ts";
import type { Pass } from "../../../../src/passes/pass.ts";
import { quantizeStatic } from "../../../../src/passes/quantize/static/quantize-static.ts";
import { runPass } from "../../../../src/passes/runner.ts";
import { checkModel } from "../../../../src/targets/check/check.ts";
import { target } from "../../../../src/targets/index.ts";
import { runtime } from "../../harness.ts";
import { behind, built, FEEDS, named, numbers } from "../built.ts";
import { CALLS, denoiser } from "../denoiser.ts";
import { outputsOn, quantize, sqnr } from "../quantized.ts";

/** The graph of one bucket as a build writes it. */
async function closed(model: Model, k: number): Promise<Model> {
  const { model: one } = inBucket(model, k);
  const { evaluator, reader } = await runtime();
  for (const name of passGroups["clean"]!) {
    const pass: Pass = resolvePass(name);
    const properties = (pass.options["properties"] ?? {}) as Record<string, { default?: unknown }>;
    const options = Object.fromEntries(Object.entries(properties).map(([p, v]) => [p, v.default]));
    const how = { evaluator, reader, target: null, seed: 0, ranges: null, trail: [] };
    await runPass(one, pass, options as never, how);
  }
  return one;
}

const bucketAt = (bounds: readonly number[], t: number): number => bounds.filter((b) => t >= b).length;

describe("buckets of timesteps", () => {
  it("follow as many steps as they are, and less the fewer they are", async () => {
    const exact = await outputsOn(denoiser(), FEEDS);
    const at = async (options: Parameters<typeof built>[0]): Promise<number> =>
      sqnr([exact.at(-1)!], [(await outputsOn((await built(options)).model, FEEDS)).at(-1)!]);
    const constant = await at({ time: "constant" });
    const two = await at({ time: "gathered", buckets: 2 });
    const every = await at({ time: "gathered" });
    const five = await at({ time: "gathered", buckets: 5 });
    expect(two).toBeGreaterThan(constant + 5);
    expect(Math.abs(five - every)).toBeLessThan(1);
    expect(await at({ time: "normalised", buckets: 2 })).toBeGreaterThan(constant + 5);
  });

  it("are looked up by one comparison with their bounds, which the report names", async () => {
    const { model, decisions } = await built({ time: "gathered", buckets: 2 });
    expect(model.buckets).toBeUndefined();
    const said = decisions.find((d) => d.rule === "time-table");
    expect(said?.to).toMatch(/^2 buckets, cut at t = (125|375|625|875)$/);
    const compared = [...model.graph.nodes()].filter((n) => n.op === "GreaterOrEqual");
    expect(compared.length).toBe(1);
    const bounds = await numbers(model.graph.constant(compared[0]!.inputs[1]!)!);
    expect(bounds).toEqual([Number(said!.to!.split(" ").at(-1))]);
  });

  it("as graphs: constants and int32 biases in each, answers of the looked-up graph, weights in common", async () => {
    const { model, decisions } = await built({ time: "graphs", buckets: 3 });
    const { buckets } = model;
    expect(buckets!.bounds.length).toBe(2);
    expect(decisions.find((d) => d.rule === "time-graphs")?.to).toMatch(/^3 buckets/);
    const looked = await outputsOn(model, FEEDS);
    const exact = await outputsOn(denoiser(), FEEDS);
    expect(sqnr(exact, looked)).toBeGreaterThan(25);
    const graphs = await Promise.all(bucketRanges(buckets!).map((_, k) => closed(model, k)));
    for (const [i, { timestep, feeds }] of CALLS.entries()) {
      const own = graphs[bucketAt(buckets!.bounds, timestep)]!;
      expect((await outputsOn(own, [feeds]))[0]).toEqual(looked[i]);
    }
    const scales = new Set<number>();
    for (const g of graphs) {
      expect(g.buckets).toBeUndefined();
      const shapes = inferShapes(g);
      for (const n of g.graph.nodes()) {
        if (n.op !== "QuantizeLinear") continue;
        expect([shapes.shape(n.inputs[1]!), shapes.shape(n.inputs[2]!)]).toEqual([[], []]);
        expect(g.graph.constant(n.inputs[1]!)).not.toBeNull();
      }
      scales.add((await numbers(behind(g, named(g, "conv"), 0).constant(1)))[0]!);
      const conv = named(g, "conv");
      const [x] = await numbers(behind(g, conv, 0).constant(1));
      const w = await numbers(behind(g, conv, 1).constant(1));
      const b = behind(g, conv, 2);
      expect(b.constant(0).dtype).toBe("i32");
      for (const [n, s] of (await numbers(b.constant(1))).entries())
        expect(Math.abs(s / (x! * w[n]!) - 1)).toBeLessThan(1e-6);
      expect(behind(g, conv, 1).constant(0)).toBe(
        behind(graphs[0]!, named(graphs[0]!, "conv"), 1).constant(0),
      );
    }
    expect(scales.size).toBe(3);
  });

  it("as graphs of opset 17 whose scales are powers of two, where the target wants them so", async () => {
    const xint8 = target("vitisai:xint8");
    const { model } = await built({ time: "graphs", buckets: 3 }, xint8, denoiser(17));
    expect(sqnr(await outputsOn(denoiser(17), FEEDS), await outputsOn(model, FEEDS))).toBeGreaterThan(20);
    const scales = new Set<number>();
    for (const k of bucketRanges(model.buckets!).keys()) {
      const one = await closed(model, k);
      for (const n of one.graph.nodes())
        if (n.op === "QuantizeLinear")
          for (const s of await numbers(one.graph.constant(n.inputs[1]!)!)) scales.add(s);
      const { reader } = await runtime();
      const [check] = await checkModel(one, [xint8], { reader });
      expect(check!.findings.filter((f) => f.rule === "VAI-1" && /scale/.test(f.why))).toEqual([]);
    }
    expect(scales.size).toBeGreaterThan(3);
    for (const s of scales) expect(Number.isInteger(Math.log2(s))).toBe(true);
  });

  it("come as a table where the target looks scales up, and not at all where ranges stand still", async () => {
    const table = await built({ time: "graphs" }, target("cpu-x64"));
    expect(table.model.buckets).toBeUndefined();
    expect(table.decisions.find((d) => d.rule === "time-scales")).toMatchObject({
      kind: "downgraded",
      from: "graphs",
      to: "gathered",
    });
    const still = denoiser();
    const calls = CALLS.map((c) => ({ ...c, feeds: CALLS[0]!.feeds }));
    const options = { minElements: 64, time: "graphs" as const };
    const said = await quantize(still, quantizeStatic, { options, target: null, calls });
    expect(still.buckets).toBeUndefined();
    expect(said.find((d) => d.rule === "time-buckets")?.kind).toBe("skipped");
    const constant = await built({ time: "constant", buckets: 2 });
    expect(constant.decisions.find((d) => d.rule === "time-buckets")?.kind).toBe("downgraded");
  });
});
