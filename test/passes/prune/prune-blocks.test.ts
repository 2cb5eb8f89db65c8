import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { cloneModel } from "../../../src/ir/clone.ts";
import { graphCost } from "../../../src/ir/cost.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { residualBranches } from "../../../src/passes/prune/branches.ts";
import { pruneBlocks } from "../../../src/passes/prune/prune-blocks.ts";
import { putStub, type Stub } from "../../../src/passes/prune/stub.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { recordOracle, unetCalls } from "../../calibrate/oracle.ts";
import { cleanDenoiser, exposing } from "../../calibrate/statistics/fetched.ts";
import { floats, runtime } from "../harness.ts";

const UNET = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
const DIMS = { batch_size: 2, height: 16, width: 16, steps: 1, sequence_length: 8 };

const load = async (): Promise<Model> => await cleanDenoiser(UNET, await runtime());

describe("prune-blocks", () => {
  it("finds attentions, feed-forwards and insides of residual blocks", async () => {
    const model = await load();
    const names = residualBranches(model.graph, inferShapes(model)).map((b) => b.node.name);
    for (const part of ["/net/down_blocks.0/resnets.0/Add_1", "/net/mid_block/resnets.0/Add_1"])
      expect(names).toContain(part);
    // All but those whose shapes later layers read off.
    expect(names.filter((n) => n.includes("transformer_blocks.0")).length).toBe(18);
    // A shortcut with a layer of its own changes the width.
    expect(names.some((n) => n.startsWith("/net/up_blocks.0/resnets.0/"))).toBe(false);
  });

  it("drops the branches that harm least per saved operation, within the ratio", async () => {
    const model = await load();
    const rt = await runtime();
    const calls = unetCalls([900, 400], 1);
    const oracle = await recordOracle({
      model,
      runtime: rt,
      output: "out_sample",
      guidance: 1,
      halves: 2,
      calls,
    });
    const before = graphCost(model, { bindings: DIMS }).flops;
    const report = await runPass(
      model,
      pruneBlocks as Pass<never> as unknown as Pass,
      { ratio: 0.06, stub: "none", rank: 16, calls: 2 },
      {
        evaluator: rt.evaluator,
        reader: rt.reader,
        target: null,
        seed: 0,
        ranges: null,
        trail: [],
        oracle,
      },
    );
    const after = graphCost(model, { bindings: DIMS }).flops;
    expect(1 - after / before).toBeGreaterThan(0.03);
    expect(1 - after / before).toBeLessThan(0.065);
    const kept = report!.decisions.filter((d: Decision) => d.kind === "applied");
    expect(kept.length).toBeGreaterThan(0);
    const { mean } = await oracle.errors(model);
    expect(mean).toBeGreaterThan(8);
  }, 180_000);

  it.each(["mean", "affine", "low-rank"] as const)(
    "puts a %s stub in place, as its numbers say",
    async (stub) => {
      const model = await load();
      const rt = await runtime();
      const feeds = unetCalls([700], 1)[0]!.feeds;
      const branches = residualBranches(model.graph, inferShapes(model));
      const of = (part: string) => branches.find((b) => b.node.name.includes(part))!;
      // An image and tokens.
      for (const b of [of("/net/mid_block/resnets.0/"), of("transformer_blocks.0")]) {
        const copy = cloneModel(model);
        const names = [copy.graph.value(b.stream).name, copy.graph.value(b.node.outputs[0]!).name];
        const before = await rt.evaluator.run(exposing(model, names), feeds);
        const { dims } = before.get(names[0]!)!;
        const [channels, inner] = [dims[b.axis]!, dims.slice(b.axis + 1).reduce((x, y) => x * y, 1)];
        const rng = createRng(3, stub);
        const numbers = (n: number): Float32Array =>
          Float32Array.from({ length: n }, () => 0.2 * rng.normal());
        const [shift, scale, down, up] = [channels, channels, channels * 3, 3 * channels].map(numbers) as [
          Float32Array,
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        putStub(copy.graph, b, { kind: stub, shift, scale, down, up, rank: 3 } as Stub);
        const found = floats((await rt.evaluator.run(exposing(copy, [names[1]!]), feeds)).get(names[1]!)!);
        const x = floats(before.get(names[0]!)!);
        const at = (o: number, c: number, i: number): number => x[(o * channels + c) * inner + i]!;
        let worst = 0;
        for (let o = 0; o < x.length / channels / inner; o++)
          for (let i = 0; i < inner; i++) {
            const low = [0, 1, 2].map((r) => {
              let sum = 0;
              for (let c = 0; c < channels; c++) sum += at(o, c, i) * down[c * 3 + r]!;
              return sum;
            });
            for (let c = 0; c < channels; c++) {
              let y = at(o, c, i) + shift[c]!;
              if (stub === "affine") y += scale[c]! * at(o, c, i);
              if (stub === "low-rank") for (const [r, v] of low.entries()) y += v * up[r * channels + c]!;
              worst = Math.max(worst, Math.abs(found[(o * channels + c) * inner + i]! - y));
            }
          }
        expect(worst).toBeLessThan(1e-4);
      }
    },
    60_000,
  );
});
