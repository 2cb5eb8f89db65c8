import type { SaturationRule } from "../../numeric/quantize/saturation.ts";
import { optionPattern } from "../option-pattern.ts";
import { definePass } from "../pass.ts";
import { dynamicObstacle, writeDynamic } from "./dynamic.ts";
import { findSites, type StaticLayer } from "./static/sites.ts";

/** Options of `quantize-dynamic`. */
export interface QuantizeDynamicOptions {
  readonly saturation: SaturationRule;
  readonly minRows: number;
  readonly match: string | null;
  readonly exclude: string | null;
  readonly guards: boolean;
  readonly minElements: number;
}

const NAME = "quantize-dynamic";

export const quantizeDynamic = definePass<QuantizeDynamicOptions>({
  name: NAME,
  family: "quantize",
  summary: "Runs linear layers in 8 bits with activation ranges measured while the model runs",
  doc: `Linear layers with a constant weight become \`com.microsoft.DynamicQuantizeMatMul\`: weights in int8 with one
symmetric scale per output channel, activations on an unsigned 8-bit grid over the extremes of the tensor at hand. Nothing
is calibrated, so the pass also serves models that cannot be sampled, and a range that moves with the timestep is followed
by itself. The price is a look at every activation, one scale for a whole tensor with its outliers, and results of a
sample that depend on the batch it is in; \`quantize-static\` is both faster and more accurate where it can calibrate.

Weights obey the same \`saturation\` rule as there. Convolutions stay float, because the runtime's dynamic form of them is
slower than float arithmetic. So do products with fewer than \`minRows\` rows: at one row and a 256×256 weight nothing is
gained (0.05 ms either way), at 16 rows and 1280×1280 it is 3.6 times as fast as float, at 64 rows and 256×256 1.4 times
(one thread, no VNNI). Guards are those of \`quantize-static\`: first and last layers, what depends on the timestep and
conditions alone, and layers that read a graph input.

The pass does something only on targets that run the operator, and says so elsewhere.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      saturation: {
        enum: ["pairs", "seven-bit", "none"],
        default: "pairs",
        description:
          "What keeps 16-bit additions of x86 processors without VNNI exact: scales at which no two neighbouring weights can overflow, weights of 7 bits, or nothing.",
      },
      minRows: {
        type: "integer",
        minimum: 1,
        default: 16,
        description: "Products that are not known to have as many rows stay float.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only layers whose node name matches are quantized.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; layers whose node name matches stay float.",
      },
      guards: {
        type: "boolean",
        default: true,
        description:
          "Keep first and last layers, the time path and layers that read a graph input in float. Lifting it is reported.",
      },
      minElements: {
        type: "integer",
        minimum: 1,
        default: 4096,
        description: "Layers with fewer weights stay float.",
      },
    },
  },
  version: 1,
  async run(_graph, o, ctx) {
    const { target } = ctx;
    if (target?.integer?.dynamic !== true) {
      const why =
        target === null
          ? "the operator belongs to single runtimes: nothing is written without a target"
          : (target.integerWhy ?? "the target does not run the operator");
      ctx.decide({ node: "", kind: "downgraded", rule: "no-dynamic", why, from: "a8w8", to: "f32" });
      return;
    }
    const { sites, left } = findSites(ctx.model, ctx.shapes(), {
      match: optionPattern(NAME, "match", o.match),
      exclude: optionPattern(NAME, "exclude", o.exclude),
      minElements: o.minElements,
      guards: o.guards,
    });
    for (const l of left) ctx.decide({ node: l.node.name, kind: "skipped", rule: l.rule, why: l.why });
    if (!o.guards)
      ctx.decide({
        node: "",
        kind: "forced",
        rule: "guards",
        why: "first and last layers and the time path are quantized like the others",
      });
    const able: StaticLayer[] = [];
    for (const site of sites) {
      const why = dynamicObstacle(site, o.minRows, ctx);
      if (why === null) able.push(...site.layers);
      else for (const layer of site.layers) ctx.decide({ node: layer.name, kind: "skipped", ...why });
    }
    await writeDynamic(able, target.integer.saturates ? o.saturation : "none", NAME, ctx);
  },
});
