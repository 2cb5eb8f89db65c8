import { PATTERNS, type PatternName } from "../../numeric/sparsify/pattern.ts";
import type { Criterion, Repair } from "../../numeric/sparsify/prune-weight.ts";
import type { JsonSchema } from "../pass.ts";

/** Options of `sparsify-weights`. */
export interface SparsifyWeightsOptions {
  method: Criterion;
  pattern: PatternName;
  ratio: number;
  repair: Repair;
  actOrder: boolean;
  match: string | null;
  exclude: string | null;
  minElements: number;
  guards: boolean;
  score: boolean;
}

/** Schema of {@link SparsifyWeightsOptions}. */
export const schema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  properties: {
    method: {
      enum: ["magnitude", "wanda", "obs"],
      default: "obs",
      description:
        "Which weights go: the smallest; the smallest times the size of their input, output by output; those whose loss the others can make up for best. The last two look at the inputs of every layer along sampled trajectories.",
    },
    pattern: {
      enum: [...PATTERNS],
      default: "unstructured",
      description:
        "Where zeros lie: anywhere; two of every four or four of every eight neighbouring input channels; blocks of one output and four input channels, or of sixteen outputs and one.",
    },
    ratio: {
      type: "number",
      minimum: 0,
      maximum: 0.95,
      default: 0.5,
      description: "Share of zeros in every weight; 2:4 and 4:8 are half zeros whatever it says.",
    },
    repair: {
      enum: ["none", "feedback", "least-squares"],
      default: "least-squares",
      description:
        "What happens to the weights that stay: nothing; later inputs make up for earlier ones in one sweep; the values with the least error at the layer's output.",
    },
    actOrder: {
      type: "boolean",
      default: false,
      description: "The sweep goes through the inputs by size instead of by position.",
    },
    match: {
      type: ["string", "null"],
      default: null,
      description: "Regular expression; only layers whose node name matches get zeros.",
    },
    exclude: {
      type: ["string", "null"],
      default: null,
      description: "Regular expression; layers whose node name matches stay dense.",
    },
    minElements: {
      type: "integer",
      minimum: 1,
      default: 1024,
      description: "Weights with fewer elements stay dense.",
    },
    guards: {
      type: "boolean",
      default: true,
      description:
        "Keep first and last layers, the time embedding, changes of resolution and shortcuts of blocks dense. Lifting it is reported.",
    },
    score: {
      type: "boolean",
      default: true,
      description: "Report the predicted error of every layer whose inputs are known.",
    },
  },
};
