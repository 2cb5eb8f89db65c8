import { DTYPES } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { type DimBindings, nodeCost } from "../../../ir/ops/queries.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { integerGain } from "../../../targets/cost/integer.ts";
import { type NodeWork, nodeEstimate } from "../../../targets/cost/node.ts";
import { AVX2_CORE } from "../../../targets/machines/x64.ts";
import type { PassContext } from "../../pass.ts";
import type { Site } from "./sites.ts";
import type { Spelling } from "./spelling.ts";

/** What a gain depends on besides the site: how it would be written, and the lengths of the recorded calls. */
export interface GainOptions {
  readonly spelling: Pick<Spelling, "qdq" | "bits" | "block">;
  readonly lengths: DimBindings;
}

type GainContext = Pick<PassContext, "model" | "target" | "shapes">;

function constantBytes(graph: Graph, node: Node): number {
  return node.inputs.reduce((n, id) => {
    const t = graph.constant(id);
    return t === null ? n : n + tensorBytes(t);
  }, 0);
}

/** Operators on integers: what the product saves less conversions that are nodes of their own. */
function operatorGain(site: Site, ctx: GainContext, lengths: DimBindings): number | null {
  let [flops, quantized, dequantized] = [0, 0, 0];
  for (const l of site.layers) {
    const cost = nodeCost(l.node, ctx.shapes(), lengths);
    if (cost === null) return null;
    flops += cost.flops;
    // What the node reads beside its constants is the activation.
    quantized = (cost.bytesRead - constantBytes(ctx.model.graph, l.node)) / 4;
    if (site.kind === "conv") dequantized += cost.bytesWritten / 4;
  }
  return integerGain(ctx.target?.machine ?? AVX2_CORE, { flops, quantized, dequantized });
}

/** Q/DQ that a compiler takes for types: the same node on narrow numbers, which it reads and maybe writes. */
function typedGain(site: Site, ctx: GainContext, { spelling, lengths }: GainOptions): number | null {
  const { qdq, bits, block } = spelling;
  const machine = ctx.target?.machine;
  const from = ctx.shapes().dtype(site.value);
  if (machine === undefined || from === null || qdq === null) return null;
  const to = qdq.float8 ? "f8e4m3fn" : bits === 8 ? "i8" : "i16";
  const wide = DTYPES[from].bits;
  const narrow = bits / wide;
  let gain = 0;
  for (const { node } of site.layers) {
    const cost = nodeCost(node, ctx.shapes(), lengths);
    if (cost === null) return null;
    const weights = constantBytes(ctx.model.graph, node);
    const bytes = cost.bytesRead + cost.bytesWritten;
    const now: NodeWork = { kind: "product", flops: cost.flops, bytes, weights, dtype: from };
    const stored = (weights * (block === null ? 8 : 4)) / wide;
    const written = cost.bytesWritten * (qdq.placement === "around" ? narrow : 1);
    const moved = (cost.bytesRead - weights) * narrow + stored + written;
    const then: NodeWork = { ...now, bytes: moved, weights: stored, dtype: to };
    gain += nodeEstimate(machine, now).seconds - nodeEstimate(machine, then).seconds;
  }
  return gain;
}

/**
 * Estimated seconds of a run that a site saves on narrow numbers, less than zero where it costs some; `null` where a length
 * is unknown or the target has no machine.
 */
export function siteGain(site: Site, ctx: GainContext, options: GainOptions): number | null {
  return options.spelling.qdq === null
    ? operatorGain(site, ctx, options.lengths)
    : typedGain(site, ctx, options);
}
