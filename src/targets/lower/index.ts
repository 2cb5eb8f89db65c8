import type { Target } from "../target.ts";
import {
  biasSplitGeluInPrimitives,
  fastGeluInPrimitives,
  geluAsStandard,
  geluInPrimitives,
  sigmoidGate,
} from "./activation.ts";
import { attentionInPrimitives, multiHeadAttentionInPrimitives } from "./attention.ts";
import { attentionApart, attentionOnHeads } from "./attention-form.ts";
import type { Lowering } from "./emit.ts";
import {
  contribGroupNormInPrimitives,
  groupNormInPrimitives,
  groupNormThroughInstanceNorm,
  layerNormInPrimitives,
  rmsNormInPrimitives,
} from "./norm.ts";

export { Emit, type Lowered, type Lowering } from "./emit.ts";

/** Capabilities with several spellings. */
export type Capability = keyof Target["spelling"];

/** An operator, the capability it belongs to, and how to write it for each spelling a target may want instead. */
export interface LoweringRow {
  /** `op` of the standard domain or `domain:op`. */
  readonly op: string;
  readonly capability: Capability;
  /** By wanted spelling; a spelling that is missing leaves the operator as it is. */
  readonly to: Readonly<Record<string, Lowering>>;
}

/** Every operator that can be written otherwise; adding one is a row here. */
export const LOWERINGS: readonly LoweringRow[] = [
  {
    op: "GroupNormalization",
    capability: "groupNorm",
    to: {
      InstanceNormalization: groupNormThroughInstanceNorm,
      // What is still there was not fused: the kernel does not take its shape.
      "com.microsoft.GroupNorm": groupNormThroughInstanceNorm,
      decomposed: groupNormInPrimitives,
    },
  },
  {
    op: "com.microsoft:GroupNorm",
    capability: "groupNorm",
    to: {
      GroupNormalization: contribGroupNormInPrimitives,
      InstanceNormalization: contribGroupNormInPrimitives,
      decomposed: contribGroupNormInPrimitives,
    },
  },
  { op: "LayerNormalization", capability: "layerNorm", to: { decomposed: layerNormInPrimitives } },
  { op: "RMSNormalization", capability: "rmsNorm", to: { decomposed: rmsNormInPrimitives } },
  { op: "Gelu", capability: "gelu", to: { decomposed: geluInPrimitives } },
  {
    op: "com.microsoft:Gelu",
    capability: "gelu",
    to: { decomposed: geluInPrimitives, Gelu: geluAsStandard },
  },
  {
    op: "com.microsoft:FastGelu",
    capability: "gelu",
    to: { decomposed: fastGeluInPrimitives, Gelu: fastGeluInPrimitives },
  },
  {
    op: "com.microsoft:BiasSplitGelu",
    capability: "geglu",
    to: { decomposed: biasSplitGeluInPrimitives },
  },
  {
    op: "com.microsoft:QuickGelu",
    capability: "silu",
    to: { decomposed: sigmoidGate(1.702), Swish: sigmoidGate(1.702) },
  },
  { op: "Swish", capability: "silu", to: { decomposed: sigmoidGate(1), QuickGelu: sigmoidGate(1) } },
  {
    op: "Attention",
    capability: "attention",
    to: {
      Attention: attentionOnHeads,
      decomposed: attentionInPrimitives,
      "com.microsoft.MultiHeadAttention": attentionInPrimitives,
    },
  },
  {
    op: "com.microsoft:MultiHeadAttention",
    capability: "attention",
    to: {
      "com.microsoft.MultiHeadAttention": attentionApart,
      decomposed: multiHeadAttentionInPrimitives,
      Attention: multiHeadAttentionInPrimitives,
    },
  },
];
