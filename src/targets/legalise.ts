import type { Json } from "../ir/tensor.ts";
import { takes } from "./check/forms.ts";
import { PARTS } from "./lower/lookup.ts";
import type { Target } from "./target.ts";

/** One pass of a legalisation with the options that differ from its defaults. */
export interface LegaliseStep {
  readonly name: string;
  readonly options: { readonly [key: string]: Json };
}

const step = (name: string, options: LegaliseStep["options"] = {}): LegaliseStep => ({ name, options });

/** Spelling of a capability that no fusion makes: the primitives stay as they are. */
const PRIMITIVE = "decomposed";

/** Axes of the transposition that puts patches of a transformer together. */
const PATCH_AXES = 6;

/** Axes that exported models come with: patches of a video need eight. */
const FULL_RANK = 8;

/** Axes of queries, keys and values whose heads are split. */
const SPLIT_HEADS = 4;

/** What the target's kernel of GroupNorm takes, as options of the fusion; its defaults where nothing is said. */
function kernelOptions({ limits }: Target): LegaliseStep["options"] {
  const shapes = limits.fusedShapes;
  if (shapes === undefined) return {};
  return {
    layout: shapes.channelsLast ? "channels-last" : "channels-first",
    evenChannels: shapes.evenChannels,
    groupMax: shapes.groupMax ?? null,
  };
}

/** Whether the provider lacks an operator that lookups, repetitions and comparisons are made of. */
function lacksLookups({ limits }: Target): boolean {
  const { operators } = limits;
  return operators !== undefined && Object.keys(PARTS).some((op) => !takes(operators, { domain: "", op }));
}

/**
 * Passes that bring a model into the form a target takes, before any weight changes its format: opset first (fused
 * operators need it), then the target's fused spellings, then everything it lacks written out.
 */
export function legalisePlan(target: Target): readonly LegaliseStep[] {
  const { spelling } = target;
  const steps = [step("convert-opset", { opset: target.opset.emit })];
  if (spelling.layerNorm === "LayerNormalization") steps.push(step("fuse-layer-norm"));
  if (spelling.rmsNorm === "RMSNormalization") steps.push(step("fuse-rms-norm"));
  if (spelling.groupNorm === "GroupNormalization") steps.push(step("fuse-group-norm"));
  // Before activations: its kernel takes a SiLU with it.
  if (spelling.groupNorm === "com.microsoft.GroupNorm")
    steps.push(step("fuse-group-norm", { spelling: spelling.groupNorm, ...kernelOptions(target) }));
  for (const activation of [spelling.gelu, spelling.silu])
    if (activation !== PRIMITIVE) steps.push(step("fuse-activation", { spelling: activation }));
  if (spelling.attention !== PRIMITIVE) {
    const inputs = target.limits.importer?.attentionRank === SPLIT_HEADS ? "heads" : "tokens";
    steps.push(step("fuse-attention", { spelling: spelling.attention, inputs }));
  }
  if (spelling.pointwise === "MatMul") steps.push(step("linearise-pointwise"), step("simplify"));
  if (target.shapes.maxRank < PATCH_AXES) steps.push(step("fuse-depth-to-space"));
  steps.push(step("fuse-gemm"));
  steps.push(step("spell-ops"));
  if (target.shapes.maxRank < FULL_RANK) steps.push(step("reduce-rank"));
  // Transposes around channels-last kernels meet those of their neighbours.
  if (spelling.groupNorm === "com.microsoft.GroupNorm" && target.limits.fusedShapes?.channelsLast === true)
    steps.push(step("simplify"));
  // Fusions leave what they replaced behind; nothing may count, quantize or convert it.
  steps.push(step("remove-dead"));
  return steps;
}

/** Passes that end a build for a target, after the weights have their format: what its compiler wants to find stored. */
export function finishPlan(target: Target): readonly LegaliseStep[] {
  const steps: LegaliseStep[] = [];
  // After the weights: what recognises a group normalisation looks for its factor and offset.
  if (target.spelling.affine === "BatchNormalization") steps.push(step("fuse-affine"), step("remove-dead"));
  // These too: what prunes, factors and quantizes looks for layers and feed-forwards as they are.
  const last: LegaliseStep[] = [];
  if (target.packedAttention !== undefined)
    last.push(step("pack-attention", { types: [...target.packedAttention.types] }));
  if (target.spelling.geglu === "com.microsoft.BiasSplitGelu") {
    const widths = target.limits.fusedShapes?.splitGeluWidths;
    last.push(step("fuse-split-gelu", { widths: widths === undefined ? null : [...widths] }));
  }
  if (last.length > 0) steps.push(...last, step("remove-dead"));
  // Lookups by one index find it in one way.
  if (lacksLookups(target)) steps.push(step("spell-lookups"), step("merge-duplicates"), step("remove-dead"));
  if (target.shapes.static) steps.push(step("store-shapes", { strict: true }));
  return steps;
}
