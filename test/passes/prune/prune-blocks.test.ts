import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { graphCost } from "../../../src/ir/cost.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { residualBranches } from "../../../src/passes/prune/branches.ts";
import { pruneBlocks } from "../../../src/passes/prune/prune-blocks.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { recordOracle, unetCalls } from "../../calibrate/oracle.ts";
import { cleanDenoiser } from "../../calibrate/statistics/fetched.ts";
import { runtime } from "../harness.ts";

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
      { ratio: 0.06, stub: "none", calls: 2 },
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
});
