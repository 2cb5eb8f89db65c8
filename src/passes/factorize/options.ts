import type { JsonSchema } from "../pass.ts";

/** How much of the layers is kept; exactly one is given. */
export interface Budget {
  /** The rank of every layer. */
  readonly rank?: number;
  /** Share of each layer's operations. */
  readonly ratio?: number;
  /** Share of the operations of all selected layers, given to those it serves best. */
  readonly keep?: number;
}

/** Options that factorizations share. */
export interface FactorizeOptions {
  budget: Budget;
  weighting: "activations" | "none";
  measure: boolean;
  match: string | null;
  exclude: string | null;
  minElements: number;
  guards: boolean;
  score: boolean;
}

const share = { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 } as const;

/** Schemas of {@link FactorizeOptions}. */
export const FACTORIZE_PROPERTIES: { readonly [name: string]: JsonSchema } = {
  budget: {
    type: "object",
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 1,
    properties: { rank: { type: "integer", minimum: 1 }, ratio: share, keep: share },
    default: { keep: 0.9 },
    description:
      "One of: keep, the share of the selected layers' operations that is left, allocated to the layers where it costs the output least; ratio, the share of each layer's operations; rank, of every layer.",
  },
  weighting: {
    enum: ["activations", "none"],
    default: "activations",
    description:
      "Errors count by the inputs of each layer along sampled trajectories, or all inputs count alike.",
  },
  measure: {
    type: "boolean",
    default: true,
    description:
      "With keep: how much an error of a layer matters is measured at the network's output; otherwise every layer counts by the relative error of its own output.",
  },
  match: {
    type: ["string", "null"],
    default: null,
    description: "Regular expression; only layers whose node name matches are factorized.",
  },
  exclude: {
    type: ["string", "null"],
    default: null,
    description: "Regular expression; layers whose node name matches stay as they are.",
  },
  minElements: {
    type: "integer",
    minimum: 1,
    default: 1024,
    description: "Weights with fewer elements stay as they are.",
  },
  guards: {
    type: "boolean",
    default: true,
    description:
      "First and last layer, time embedding, changes of resolution and shortcuts stay as they are.",
  },
  score: {
    type: "boolean",
    default: true,
    description: "Report the predicted error of every layer; it takes the factorization itself.",
  },
};
