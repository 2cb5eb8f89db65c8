import { nearestName } from "../calibrate/nearest.ts";
import { fail } from "../diagnostics/index.ts";
import { dedupeWeights } from "./clean/dedupe-weights.ts";
import { foldConstants } from "./clean/fold-constants.ts";
import { inlineFunctions } from "./clean/inline-functions.ts";
import { mergeDuplicates } from "./clean/merge-duplicates.ts";
import { removeDead } from "./clean/remove-dead.ts";
import { simplify } from "./clean/simplify.ts";
import { specialiseShapes } from "./clean/specialise-shapes.ts";
import { convertFloat } from "./convert/convert-float.ts";
import { factorizeAttention } from "./factorize/factorize-attention.ts";
import { factorizeConv } from "./factorize/factorize-conv.ts";
import { factorizeLinear } from "./factorize/factorize-linear.ts";
import { freezeConditions } from "./freeze/freeze-conditions.ts";
import { freezeTime } from "./freeze/freeze-time.ts";
import { fuseActivation } from "./fuse/fuse-activation.ts";
import { fuseAffine } from "./fuse/fuse-affine.ts";
import { fuseAttention } from "./fuse/fuse-attention.ts";
import { fuseDepthToSpace } from "./fuse/fuse-depth-to-space.ts";
import { fuseGemm } from "./fuse/fuse-gemm.ts";
import { fuseGroupNorm } from "./fuse/fuse-group-norm.ts";
import { fuseLayerNorm } from "./fuse/fuse-layer-norm.ts";
import { fuseRmsNorm } from "./fuse/fuse-rms-norm.ts";
import { fuseSplitGelu } from "./fuse/fuse-split-gelu.ts";
import { linearisePointwise } from "./fuse/linearise-pointwise.ts";
import { packAttention } from "./fuse/pack-attention.ts";
import { splitUpsample } from "./fuse/split-upsample.ts";
import { convertOpset } from "./legalise/convert-opset.ts";
import { narrowInputs } from "./legalise/narrow-inputs.ts";
import { reduceRank } from "./legalise/reduce-rank.ts";
import { shortenNames } from "./legalise/shorten-names.ts";
import { spellLookups } from "./legalise/spell-lookups.ts";
import { spellOps } from "./legalise/spell-ops.ts";
import { storeShapes } from "./legalise/store-shapes.ts";
import type { Pass } from "./pass.ts";
import { pruneBlocks } from "./prune/prune-blocks.ts";
import { pruneChannels } from "./prune/prune-channels.ts";
import { pruneFfn } from "./prune/prune-ffn.ts";
import { pruneHeads } from "./prune/prune-heads.ts";
import { pruneStructures } from "./prune/prune-structures.ts";
import { allocateBits } from "./quantize/allocate-bits.ts";
import { correctOutput } from "./quantize/correct-output.ts";
import { quantizeDynamic } from "./quantize/quantize-dynamic.ts";
import { quantizeWeights } from "./quantize/quantize-weights.ts";
import { quantizeStatic } from "./quantize/static/quantize-static.ts";
import { shareBases } from "./share/share-bases.ts";
import { sparsifyWeights } from "./sparsify/sparsify-weights.ts";

/**
 * Every pass, one line each, in the order the docs list them. Help, docs pages and the recipe schema come from here;
 * adding a pass is its file plus one line.
 */
export const passes = [
  specialiseShapes,
  inlineFunctions,
  foldConstants,
  simplify,
  mergeDuplicates,
  dedupeWeights,
  removeDead,
  fuseLayerNorm,
  fuseGroupNorm,
  fuseRmsNorm,
  fuseActivation,
  fuseAttention,
  packAttention,
  fuseSplitGelu,
  fuseGemm,
  fuseAffine,
  linearisePointwise,
  fuseDepthToSpace,
  splitUpsample,
  convertOpset,
  spellOps,
  reduceRank,
  spellLookups,
  storeShapes,
  narrowInputs,
  shortenNames,
  factorizeLinear,
  factorizeConv,
  factorizeAttention,
  freezeConditions,
  freezeTime,
  shareBases,
  sparsifyWeights,
  pruneBlocks,
  pruneHeads,
  pruneFfn,
  pruneChannels,
  pruneStructures,
  convertFloat,
  quantizeStatic,
  quantizeDynamic,
  quantizeWeights,
  allocateBits,
  correctOutput,
] as readonly Pass[];

/**
 * Names a recipe may use for several passes at once, in the order they run. `clean`: calls are inlined first, so that
 * folding sees their bodies; simplifying exposes constants, hence the second fold; dead code goes last.
 */
export const passGroups: Readonly<Record<string, readonly string[]>> = {
  clean: [
    "inline-functions",
    "fold-constants",
    "simplify",
    "merge-duplicates",
    "fold-constants",
    "simplify",
    "dedupe-weights",
    "remove-dead",
  ],
};

const BY_NAME = new Map(passes.map((p) => [p.name, p]));

/** The pass called `name`. */
export function findPass(name: string): Pass | undefined {
  return BY_NAME.get(name);
}

/** The pass called `name`. Errors: PASS_UNKNOWN with the nearest name. */
export function resolvePass(name: string): Pass {
  const known = passes.map((p) => p.name);
  return BY_NAME.get(name) ?? fail("PASS_UNKNOWN", { pass: name, known, nearest: nearestName(name, known) });
}
