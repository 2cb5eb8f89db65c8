import type { Json } from "../../ir/tensor.ts";
import { definePass, type PassContext } from "../pass.ts";
import { type Budget, priceOf } from "./allocate/budget.ts";
import { type AllocatedFormat, type Candidates, candidatesOf } from "./allocate/candidates.ts";
import { type Chosen, checkBudget, choose } from "./allocate/choose.ts";
import { dynamicRule } from "./allocate/dynamic.ts";
import { checkAdditivity, explain, summarise } from "./allocate/explain.ts";
import { outputBench, sensitivities, weightBench } from "./allocate/measure.ts";
import type { Metric } from "./allocate/metric.ts";
import { writeDynamic } from "./dynamic.ts";
import { type Choice, type QuantizeWeightsOptions, STRICTNESS, supportOf } from "./plan.ts";
import { quantizeWeights } from "./quantize-weights.ts";
import type { StaticLayer } from "./static/sites.ts";

/** Options of `allocate-bits`. */
export interface AllocateBitsOptions {
  formats: readonly AllocatedFormat[];
  budget: Budget;
  metric: Metric;
  contentTolerance: number;
  refine: number;
  pairs: number;
  calls: number;
  seeds: number;
  guards: boolean;
  weights: Partial<QuantizeWeightsOptions>;
}

const INNER = quantizeWeights.options["properties"] as Readonly<Record<string, { readonly default: Json }>>;

/** Options that this pass decides on itself. */
const OWN = ["format", "assign"];

/** Options of `quantize-weights` a recipe may give here. */
const forwarded = Object.fromEntries(Object.entries(INNER).filter(([name]) => !OWN.includes(name)));

/** Options for `quantize-weights`: its defaults, then what the recipe gives. */
function weightOptions(given: Partial<QuantizeWeightsOptions>): QuantizeWeightsOptions {
  const defaults = Object.fromEntries(Object.entries(INNER).map(([k, v]) => [k, v.default]));
  return { ...(defaults as unknown as QuantizeWeightsOptions), ...given };
}

/** Formats the target can store, each that it cannot with a decision. */
function storable(formats: readonly AllocatedFormat[], ctx: PassContext): AllocatedFormat[] {
  return formats.filter((f) => {
    if (f === "a8w8") {
      if (ctx.target?.integer?.dynamic === true) return true;
      const why = ctx.target?.integerWhy ?? "the target does not run the operator";
      ctx.decide({ node: "", kind: "skipped", rule: "format", why, from: f });
      return false;
    }
    const { gemm, conv, why } = supportOf(ctx.target, f);
    if (gemm !== null || conv !== null) return true;
    const reason = why ?? "the target does not support it";
    ctx.decide({ node: "", kind: "skipped", rule: "format", why: reason, from: f });
    return false;
  });
}

/** The assignment as `quantize-weights` takes it. */
function assignment(weights: readonly Candidates[], chosen: Chosen): Record<string, Choice> {
  return Object.fromEntries(
    weights.flatMap((w, i) => {
      const { format } = w.options[chosen.picks[i]!]!;
      const stored = format === "a8w8" ? "f32" : format;
      return w.shared.uses.map((u): [string, Choice] => [u.layer.node.name, stored]);
    }),
  );
}

/** Layers that run on integers. */
function onIntegers(weights: readonly Candidates[], chosen: Chosen): StaticLayer[] {
  return weights.flatMap((w, i) => w.options[chosen.picks[i]!]!.dynamic?.layer ?? []);
}

export const allocateBits = definePass<AllocateBitsOptions>({
  name: "allocate-bits",
  family: "quantize",
  summary: "Gives every weight the format that costs the output least, within a budget of bytes or bits",
  doc: `Scores every weight in every format by what it does to the network's output, solves a multiple-choice knapsack
under the budget and hands the result to \`quantize-weights\`.

Scores come from one session whose weights are graph inputs: it runs recorded calls of the original's own trajectory with
one weight exchanged for the floats that its stored form stands for. Two metrics are kept apart: *quality* is the error of
the guided output, *content* the error of the difference between the conditional and unconditional half. The objective is
the mean over calls of the SQNR in dB, weighted by what an error at the call does to the final sample. With \`both\`,
mixtures of the metrics are solved and the best in quality is taken whose content is within \`contentTolerance\` dB of the
best (MixDQ, Zhao et al. 2024).

That noises of single weights add up is checked on seeded pairs and reported. The solution is measured as a whole, and
\`refine\` allocations around it too; the best one measured is kept. Bytes are those stored: data, scales, zero points.

A budget of \`latency\` is one of estimated time of a run at the batch of the recorded calls, on the machine that the
target's page names: a roofline of every node, the same that reports show. Formats that are widened when the model loads
count as float. Packed ones read fewer bytes, which buys time where layers wait for memory: on accelerators, and on few
rows. On processors \`a8w8\` is what buys it: DynamicQuantizeMatMul in place of linear layers with at least 16 rows,
scored with its weight and its input rounded as the operator rounds them. Convolutions on integers are
\`quantize-static\`'s, which has a floor instead of a budget. Rates of processors are fitted to measurements, others are
published peaks, so that ratios carry over better than milliseconds; the decision \`estimate\` says which.

Layers behind a guard of \`quantize-weights\` get 8 bits or more unless \`guards\` is off. Without a trajectory to measure on,
the error of each weight relative to its energy stands in, which knows nothing of sensitivity; the report says so.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      formats: {
        type: "array",
        items: { enum: ["w2", "w4", "w8", "f16", "f32", "a8w8"] },
        minItems: 1,
        uniqueItems: true,
        default: ["w2", "w4", "w8", "f16"],
        description:
          "Formats to choose from; those the target cannot store are left out. a8w8: linear layers on integers whose inputs are rounded while they run, the only one that runs faster on CPUs.",
      },
      budget: {
        type: "object",
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
        properties: {
          bytes: {
            anyOf: [
              { type: "integer", minimum: 1 },
              { type: "string", pattern: "^[0-9]+(\\.[0-9]+)?%$" },
            ],
          },
          averageBits: { type: "number", exclusiveMinimum: 0 },
          flopBits: { type: "number", exclusiveMinimum: 0 },
          latency: {
            anyOf: [
              { type: "number", exclusiveMinimum: 0 },
              { type: "string", pattern: "^[0-9]+(\\.[0-9]+)?%$" },
            ],
          },
        },
        default: { averageBits: 6 },
        description:
          "One of: bytes of all constants afterwards (a number, or a share of those before such as 30%); averageBits stored per allocated weight; flopBits, the same with weights counted by how often they multiply; latency in estimated milliseconds of a run on the target's machine (a number, or a share of those before).",
      },
      metric: {
        enum: ["quality", "content", "both"],
        default: "both",
        description: "Score by the guided output, by what the condition does, or by both kept apart.",
      },
      contentTolerance: {
        type: "number",
        minimum: 0,
        default: 0.5,
        description: "With both: dB of content the choice may be behind the best allocation in content.",
      },
      refine: {
        type: "integer",
        minimum: 0,
        default: 24,
        description: "Allocations around the solution that are measured as a whole.",
      },
      pairs: {
        type: "integer",
        minimum: 0,
        default: 8,
        description: "Seeded pairs of weights on which additivity of noises is checked.",
      },
      calls: {
        type: "integer",
        minimum: 1,
        default: 6,
        description: "Calls of the trajectory that scores are measured on, evenly spread.",
      },
      seeds: {
        type: "integer",
        minimum: 1,
        default: 3,
        description: "Seeds of each call that scores are measured on.",
      },
      guards: {
        type: "boolean",
        default: true,
        description:
          "First and last layer, time embedding, changes of resolution and shortcuts get 8 bits or more.",
      },
      weights: {
        type: "object",
        additionalProperties: false,
        properties: forwarded,
        default: {},
        description: "Options of quantize-weights: block, search, selection and so on.",
      },
    },
  },
  wantsOracle: () => true,
  wantsRanges: (o, target) =>
    quantizeWeights.wantsRanges?.({ ...weightOptions(o.weights), format: "w8" }, target) ?? false,
  wantsStatistics(graph, o, ctx) {
    // Without guards: every layer may become integers of some width.
    const all = { ...weightOptions(o.weights), edges: "none", sensitive: "none", sequential: 0 } as const;
    return quantizeWeights.wantsStatistics?.(graph, { ...all, format: "w8" }, ctx) ?? null;
  },
  version: 1,
  async run(graph, o, ctx) {
    const inner = weightOptions(o.weights);
    const formats = storable(o.formats, ctx);
    const stored = formats.filter((f) => f !== "a8w8");
    const packed = stored.filter((f) => STRICTNESS.indexOf(f) <= STRICTNESS.indexOf("w8"));
    const format = (packed.includes("w8") ? "w8" : (packed[0] ?? "w8")) as QuantizeWeightsOptions["format"];
    const none = packed.length === 0 && stored.length === formats.length;
    const weights = none ? [] : await candidatesOf(formats, o.guards, inner, ctx);
    if (weights.length === 0) {
      const why = none ? "the target stores none of the formats" : "no weight is selected";
      ctx.decide({ node: "", kind: "skipped", rule: "allocation", why });
      if (none) await quantizeWeights.run(graph, { ...inner, format }, ctx);
      return;
    }
    const price = priceOf(o.budget, weights, ctx);
    checkBudget(weights, price);
    if (ctx.oracle === null)
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "sensitivity",
        why: "the model cannot be sampled, so that every weight counts by its own relative error",
        from: "network output",
        to: "weight error",
      });
    const bench =
      ctx.oracle === null ? weightBench(ctx, weights) : await outputBench(ctx.oracle, ctx, weights, o);
    try {
      const damages = await sensitivities(bench, weights);
      const { metric, contentTolerance, refine } = o;
      const choosing = { bench, weights, damages, price, metric, contentTolerance, refine };
      if (ctx.oracle !== null) await checkAdditivity(choosing, o.pairs, ctx);
      const chosen = await choose(choosing);
      explain(choosing, chosen, ctx);
      summarise(choosing, chosen, ctx);
      await quantizeWeights.run(graph, { ...inner, format, assign: assignment(weights, chosen) }, ctx);
      await writeDynamic(onIntegers(weights, chosen), dynamicRule(ctx), "allocate-bits", ctx);
    } finally {
      await bench.release();
    }
  },
});
