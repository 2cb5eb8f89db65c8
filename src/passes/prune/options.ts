import type { GroupKind } from "../../ir/anatomy/groups/index.ts";
import type { JsonSchema } from "../pass.ts";

/** How units are ranked. */
export type Score = "magnitude" | "energy" | "wanda" | "leverage" | "obs";

/** How a budget is spread over groups. */
export type Allocation = "uniform" | "predicted" | "measured";

/** Options all pruning passes share. */
export interface PruneOptions {
  ratio: number;
  per: "flops" | "bytes";
  score: Score;
  repair: boolean;
  allocate: Allocation;
  rounds: number;
  packages: number;
  most: number;
  align: number;
  damp: number;
  match: string | null;
  exclude: string | null;
  dims: Readonly<Record<string, number>>;
}

/** What a pass prunes. */
export interface Scope {
  readonly pass: string;
  readonly kinds: readonly GroupKind[];
}

/** Schema of {@link PruneOptions}; passes may add properties. */
export function pruneSchema(ratio: number, more: JsonSchema = {}): JsonSchema {
  return {
    type: "object",
    additionalProperties: false,
    properties: {
      ratio: {
        type: "number",
        minimum: 0,
        maximum: 0.9,
        default: ratio,
        description:
          "Share of the whole graph's FLOPs, or of its weights' bytes, to take away, as far as `most` allows.",
      },
      per: {
        enum: ["flops", "bytes"],
        default: "flops",
        description:
          "What `ratio` is a share of, and what errors are weighed against: operations or bytes of weights.",
      },
      score: {
        enum: ["obs", "wanda", "energy", "leverage", "magnitude"],
        default: "obs",
        description:
          "How units are ranked: error left after the other inputs make up for the unit; weight times activation; activation energy; ridge leverage; sum of the absolute weights that make it. Only the last needs no samples.",
      },
      repair: {
        type: "boolean",
        default: true,
        description: "Refit the weights that read the kept units to the layer's old output by least squares.",
      },
      allocate: {
        enum: ["measured", "predicted", "uniform"],
        default: "measured",
        description:
          "How the cut is spread: by the network's output error per saved FLOP or byte, measured once per group; by relative layer error as predicted; the same share everywhere.",
      },
      rounds: {
        type: "integer",
        minimum: 1,
        maximum: 16,
        default: 1,
        description: "Rounds of scoring, removing a part, sampling anew and repairing.",
      },
      packages: {
        type: "integer",
        minimum: 1,
        maximum: 64,
        default: 4,
        description:
          "Parts in which layers are refitted, in the order they run: those of a later part on what the earlier ones leave of their inputs, towards the original's outputs. Each part but the first costs two trajectories; 1 refits all on the inputs before the cut.",
      },
      most: {
        type: "number",
        minimum: 0,
        maximum: 0.95,
        default: 0.75,
        description: "Largest share of one group's units that may go.",
      },
      align: {
        type: "integer",
        minimum: 1,
        maximum: 256,
        default: 8,
        description:
          "Kept widths are multiples of this; the `align` of the target's descriptor is the best choice.",
      },
      damp: {
        type: "number",
        minimum: 0,
        maximum: 1,
        default: 0.001,
        description: "Share of the mean diagonal added to Gram matrices before they are solved.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only groups whose name matches are pruned.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; groups whose name matches stay whole.",
      },
      dims: {
        type: "object",
        additionalProperties: { type: "integer", minimum: 1 },
        default: {},
        description:
          "Lengths of symbolic dims for counting FLOPs. Others are as sampled, else 1 for leading axes and 64 elsewhere.",
      },
      ...(more as { [key: string]: JsonSchema }),
    },
  };
}
