import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { verifyModel } from "../../../src/ir/verify.ts";
import { modelBytes } from "../../../src/ir/weights.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import type { Pass } from "../../../src/passes/pass.ts";
import { pruneChannels } from "../../../src/passes/prune/prune-channels.ts";
import { pruneHeads } from "../../../src/passes/prune/prune-heads.ts";
import { pruneStructures } from "../../../src/passes/prune/prune-structures.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { unetCalls } from "../../calibrate/oracle.ts";
import { cleanDenoiser } from "../../calibrate/statistics/fetched.ts";
import { apply, floats, runtime } from "../harness.ts";

const UNET = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
const DIMS = { batch_size: 2, height: 16, width: 16, steps: 1, sequence_length: 8 };
const as = (pass: unknown): Pass<never> => pass as Pass<never>;

const load = async (): Promise<Model> => await cleanDenoiser(UNET, await runtime());

/** SQNR in dB of the output on seeded inputs. */
async function quality(a: Model, b: Model): Promise<number> {
  const rt = await runtime();
  const { feeds } = unetCalls([500], 1)[0]!;
  const [x, y] = [await rt.evaluator.run(a, feeds), await rt.evaluator.run(b, feeds)];
  const first = (m: ReadonlyMap<string, Dense>): Float32Array => floats([...m.values()][0]!);
  const [p, q] = [first(x), first(y)];
  let [signal, noise] = [0, 0];
  for (const [i, v] of p.entries()) {
    signal += v * v;
    noise += (v - q[i]!) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

describe("pruning without samples", () => {
  it("refuses a pattern that is none, like every pass", async () => {
    const failed = load().then((m) => apply(m, [as(pruneStructures), { match: "(", dims: DIMS }]));
    await expect(failed).rejects.toMatchObject({ code: "OPTION_PATTERN_INVALID" });
  });

  it("cuts the FLOPs it is asked for, by magnitude, and says so", async () => {
    const model = await load();
    const whole = await load();
    const decisions = await apply(model, [as(pruneStructures), { ratio: 0.1, dims: DIMS }]);
    const total = decisions.at(-1)!;
    expect(total.rule).toBe("prune-structures");
    const [before, after] = total.why!.match(/[\d.]+(?= MFLOP)/g)!.map(Number);
    expect(after! / before!).toBeLessThanOrEqual(0.9);
    expect(after! / before!).toBeGreaterThan(0.86);
    expect(total.bytesAfter!).toBeLessThan(total.bytesBefore!);
    expect(modelBytes(model)).toBe(total.bytesAfter);
    expect(decisions.some((d) => d.kind === "downgraded" && d.to === "magnitude without repair")).toBe(true);
    expect(verifyModel(model).filter((d) => d.severity === "error")).toEqual([]);
    expect(await quality(whole, model)).toBeGreaterThan(5);
  }, 60_000);

  it("cuts the bytes it is asked for, and what it predicted is what is left", async () => {
    const model = await load();
    const decisions = await apply(model, [as(pruneStructures), { ratio: 0.1, per: "bytes", dims: DIMS }]);
    const total = decisions.at(-1)!;
    const kept = total.bytesAfter! / total.bytesBefore!;
    expect(kept).toBeLessThanOrEqual(0.9);
    expect(kept).toBeGreaterThan(0.86);
    expect(total.why).toMatch(/^\d+ bytes became \d+ bytes/);
    expect(modelBytes(model)).toBe(total.bytesAfter);
    const byFlops = await load();
    await apply(byFlops, [as(pruneStructures), { ratio: 0.1, dims: DIMS }]);
    expect(modelBytes(byFlops)).not.toBe(modelBytes(model));
  }, 60_000);

  it("does nothing for a ratio of zero", async () => {
    const model = await load();
    const { version } = model.graph;
    await apply(model, [as(pruneStructures), { ratio: 0 }]);
    expect(model.graph.version).toBe(version);
  });

  it("keeps widths on the grid it is given", async () => {
    const model = await load();
    const decisions = await apply(model, [as(pruneChannels), { ratio: 0.1, align: 16, dims: DIMS }]);
    const widths = decisions
      .filter((d) => d.kind === "applied" && d.rule === "prune-inner")
      .map((d) => d.to!);
    expect(widths.length).toBeGreaterThan(0);
    for (const w of widths) {
      const [n, each] = w.split(" × ").map(Number);
      expect((n! * each!) % 16).toBe(0);
    }
  }, 60_000);

  it("says what cannot go and why", async () => {
    const model = await load();
    const decisions = await apply(model, [as(pruneHeads), { ratio: 0.5, dims: DIMS }]);
    const refused = decisions.find((d) => d.kind === "skipped" && d.rule === "whole-layer")!;
    expect(refused.node).toContain("conv_out");
    expect(refused.why).toBe("an output of the model");
    // Heads alone do not make up half of the FLOPs.
    expect(decisions.at(-1)!.kind).toBe("downgraded");
    expect(decisions.at(-1)!.why).toContain("nothing else may go");
  }, 60_000);
});

describe("pruning, then quantizing", () => {
  it("quantizes the smaller weights and runs", async () => {
    const [whole, model] = [await load(), await load()];
    await apply(model, [as(pruneStructures), { ratio: 0.05, dims: DIMS }]);
    const pruned = modelBytes(model);
    const before = await quality(whole, model);
    await apply(model, [as(quantizeWeights), { format: "w8" }], [as(removeDead)]);
    expect(modelBytes(model)).toBeLessThan(0.5 * pruned);
    expect(Math.abs((await quality(whole, model)) - before)).toBeLessThan(1);
  }, 60_000);
});
