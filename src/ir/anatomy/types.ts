import type { NodeId, ValueId } from "../graph.ts";
import type { WeightRole } from "../ops/spec.ts";
import type { ActivationMatch, AttentionMatch, Miss, NormMatch } from "../pattern/index.ts";
import type { Tensor } from "../tensor.ts";

/** What a graph input means to a diffusion network. */
export type InputRole =
  /** The noisy sample (or latent) whose noise, velocity or clean version is predicted; a VAE's input too. */
  | "sample"
  | "timestep"
  /** Sequence conditioning: text encoder states. */
  | "encoder-states"
  | "class-labels"
  /** Pooled conditioning vector added to the time embedding. */
  | "text-embeds"
  /** Size and crop numbers that are embedded like timesteps. */
  | "time-ids"
  /** Guidance strength fed to a distilled network. */
  | "guidance"
  | "mask"
  | "token-ids"
  /** Coordinates for rotary embeddings. */
  | "positions"
  /** Feature maps added from outside (ControlNet). */
  | "residual"
  | "other";

export interface GraphInput {
  readonly value: ValueId;
  readonly name: string;
  readonly role: InputRole;
  /** What gave the role away. */
  readonly why: string;
}

/** What a linear-like node does in the network. */
export type LayerKind =
  | "attn.q"
  | "attn.k"
  | "attn.v"
  | "attn.qkv"
  | "attn.kv"
  | "attn.out"
  | "ff.in"
  | "ff.gate"
  | "ff.out"
  | "conv1"
  | "conv2"
  | "shortcut"
  /** Embedding of the timestep before it branches into blocks. */
  | "time.mlp"
  /** Projection of the embedding into one block. */
  | "time.proj"
  /** Embedding of a class or added condition. */
  | "cond.mlp"
  /** Projection of the sequence conditioning, outside attentions. */
  | "cond.proj"
  /** Makes the scale, shift and gate of a modulated norm. */
  | "adaln"
  | "proj.in"
  | "proj.out"
  | "first"
  | "last"
  | "downsample"
  | "upsample"
  | "other";

/** A node with a constant weight that multiplies activations: Conv, Gemm, MatMul and their fused spellings. */
export interface Layer {
  readonly node: NodeId;
  readonly kind: LayerKind;
  /** Innermost part it belongs to, an index into `parts`; `null` outside all parts. */
  readonly part: number | null;
  /** The exporter's scope, else taken from the weight's name. */
  readonly name: string;
  /** Value of the weight as the node reads it. */
  readonly weight: ValueId;
  /** The stored weight when it is reached through element-order-keeping ops only. */
  readonly tensor: Tensor | null;
  readonly role: WeightRole;
  /** Bias value: input of the node, or operand of the Add that follows. */
  readonly bias: ValueId | null;
  /** The Add that adds the bias, when it is a node of its own. */
  readonly biasNode: NodeId | null;
  readonly input: ValueId;
  /** Result after the bias. */
  readonly output: ValueId;
  /** First layers the sample meets and last ones before the output; the modulation of the last norm counts as last. */
  readonly edge: "first" | "last" | null;
  /** Depends on neither the sample nor sequence conditioning: its outputs can be tabulated. */
  readonly conditioningOnly: boolean;
}

interface PartBase {
  /** Index in `parts`. */
  readonly id: number;
  /** The exporter's scope where there is one (`/down_blocks.0/resnets.1`); unique. */
  readonly name: string;
  /** Its nodes in topological order, those of inner parts included. */
  readonly nodes: readonly NodeId[];
  readonly input: ValueId;
  readonly output: ValueId;
  /** The part directly around it. */
  readonly parent: number | null;
}

/** x + f(x): where a branch joins the residual stream. */
export interface ResidualJoin {
  readonly add: NodeId;
  /** The stream before. */
  readonly stream: ValueId;
  /** The stream after. */
  readonly output: ValueId;
  /** Factor on the branch that comes from the conditioning (adaLN-zero gate). */
  readonly gate: ValueId | null;
}

export type NormPart = PartBase & { readonly kind: "norm"; readonly match: NormMatch };
export type ActivationPart = PartBase & { readonly kind: "activation"; readonly match: ActivationMatch };

/** norm(x)·(1 + scale) + shift, all from one projection of the conditioning. */
export type ModulationPart = PartBase & {
  readonly kind: "modulation";
  /** Part id of the norm. */
  readonly norm: number;
  readonly scale: ValueId;
  readonly shift: ValueId;
  /** True when the multiplier is 1 + scale, false when scale itself. */
  readonly plusOne: boolean;
  /** Layer node that makes scale and shift; `null` when they come from a table. */
  readonly linear: NodeId | null;
};

export type AttentionPart = PartBase & {
  readonly kind: "attention";
  readonly match: AttentionMatch;
  /** Whether q and k, v see the same tokens, other ones, or both streams see both. */
  readonly sees: "self" | "cross" | "joint";
  readonly heads: number | null;
  readonly headDim: number | null;
  /** Layer nodes; two of each in joint attention, one shared by all three when projections are merged. */
  readonly q: readonly NodeId[];
  readonly k: readonly NodeId[];
  readonly v: readonly NodeId[];
  readonly out: readonly NodeId[];
  readonly residuals: readonly ResidualJoin[];
};

export type FeedForwardPart = PartBase & {
  readonly kind: "feed-forward";
  /** Non-linearity; gated forms multiply it with a second projection. */
  readonly activation: ActivationMatch["kind"];
  readonly gated: boolean;
  /** One layer node, or two (value, gate) when a gated form has separate projections. */
  readonly in: readonly NodeId[];
  readonly out: NodeId;
  readonly residual: ResidualJoin | null;
};

export type ResBlockPart = PartBase & {
  readonly kind: "resblock";
  readonly conv1: NodeId;
  readonly conv2: NodeId;
  readonly shortcut: NodeId | null;
  /** Projection of the time embedding. */
  readonly time: NodeId | null;
  /** Value the projection adds or modulates with. */
  readonly timeForm: "add" | "scale-shift" | null;
  /** Part ids. */
  readonly norm1: number;
  readonly norm2: number;
  readonly resamples: "up" | "down" | null;
};

export type TransformerBlockPart = PartBase & {
  readonly kind: "transformer-block";
  /** Part ids in order. */
  readonly attentions: readonly number[];
  readonly feedForwards: readonly number[];
};

export type SpatialTransformerPart = PartBase & {
  readonly kind: "spatial-transformer";
  readonly norm: number;
  readonly projIn: NodeId;
  readonly projOut: NodeId;
  readonly blocks: readonly number[];
};

export type SkipConcatPart = PartBase & {
  readonly kind: "skip-concat";
  readonly axis: number;
  /** Operand that comes from the block before. */
  readonly main: ValueId;
  /** Operands kept from the encoder side. */
  readonly skips: readonly ValueId[];
  /** Lengths along the axis in operand order, `null` where unknown. */
  readonly widths: readonly (number | null)[];
};

export type SamplerPart = PartBase & {
  readonly kind: "downsample" | "upsample";
  /** The convolution; `null` for pooling or interpolation alone. */
  readonly conv: NodeId | null;
};

/** Layers that turn timesteps (or classes, added conditions) into the embedding that blocks project from. */
export type EmbeddingPart = PartBase & {
  readonly kind: "time-embedding" | "cond-embedding";
  readonly layers: readonly NodeId[];
  /** Graph inputs it depends on. */
  readonly inputs: readonly ValueId[];
};

export type Part =
  | NormPart
  | ActivationPart
  | ModulationPart
  | AttentionPart
  | FeedForwardPart
  | ResBlockPart
  | TransformerBlockPart
  | SpatialTransformerPart
  | SkipConcatPart
  | SamplerPart
  | EmbeddingPart;

export type PartKind = Part["kind"];

/** The structure of a network as far as it was recognised. */
export interface Anatomy {
  readonly inputs: readonly GraphInput[];
  /** Outer parts before inner ones at the same place; otherwise in topological order. */
  readonly parts: readonly Part[];
  /** Every linear-like node, in topological order. */
  readonly layers: readonly Layer[];
  /** What looked like a structure and was not recognised, with reasons. */
  readonly misses: readonly Miss[];
  /** Parts around a node, outermost first; by exporter scope for nodes that no pattern took. */
  byNode(id: NodeId): readonly Part[];
  /** The layer of a node, also for the Add of its bias. */
  layer(id: NodeId): Layer | undefined;
}
