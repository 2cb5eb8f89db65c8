import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { cloneModel } from "../../../src/ir/clone.ts";
import { graphCost } from "../../../src/ir/cost.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { readModel } from "../../../src/ir/onnx/index.ts";
import { factorizeConv } from "../../../src/passes/factorize/factorize-conv.ts";
import { factorizeLinear } from "../../../src/passes/factorize/factorize-linear.ts";
import type { FactorizeOptions } from "../../../src/passes/factorize/options.ts";
import type { Pass } from "../../../src/passes/pass.ts";
import { recordOracle, unetCalls } from "../../calibrate/oracle.ts";
import { runtime } from "../harness.ts";
import { factorize } from "./factorized.ts";

const MODEL = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
const DIMS = { batch_size: 4, height: 16, width: 16, steps: 1, sequence_length: 8 };

/** Share of a model's operations that is left. */
const left = (before: Model, after: Model): number =>
  graphCost(after, { bindings: DIMS }).flops / graphCost(before, { bindings: DIMS }).flops;

describe("ranks from measured damage", () => {
  it.each([
    ["factorize-linear", factorizeLinear],
    ["factorize-conv", factorizeConv],
  ] as [string, Pass<FactorizeOptions>][])(
    "%s: the output keeps more than where layers count by their own error",
    async (_name, pass) => {
      const source = await readModel(MODEL);
      const rt = await runtime();
      const recording = {
        model: source,
        runtime: rt,
        output: "out_sample",
        guidance: 2.5,
        halves: 2,
      } as const;
      const oracle = await recordOracle({ ...recording, calls: unetCalls([800], 2) });
      const other = await recordOracle({ ...recording, calls: unetCalls([300, 950], 1) });
      const kept: number[] = [];
      for (const measure of [true, false]) {
        const model = cloneModel(source);
        const options = {
          budget: { keep: 0.8 },
          weighting: "none",
          minElements: 8192,
          guards: true,
          score: false,
          measure,
        } as const;
        const decisions = await factorize(model, pass, { options, oracle });
        expect(decisions.some((d) => d.rule === "sensitivity")).toBe(false);
        expect(decisions.find((d) => d.rule === "assumed-lengths")).toBeUndefined();
        expect(left(source, model)).toBeLessThan(0.95);
        kept.push((await other.errors(model)).mean);
      }
      expect(kept[0]! - kept[1]!).toBeGreaterThan(1);
    },
    300_000,
  );
});
