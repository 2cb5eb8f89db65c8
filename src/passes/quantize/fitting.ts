import type { StatisticsRequest } from "../../calibrate/statistics/types.ts";
import { fail } from "../../diagnostics/index.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import type { SparseFit } from "../../numeric/quantize/fit-weight.ts";
import { misfit, patternOf } from "../../numeric/sparsify/pattern.ts";
import { fittable, type WeightFit } from "../../targets/lower/weights.ts";
import type { PassContext } from "../pass.ts";
import { gramRequest, inputsOf, type LayerInputs } from "./grams.ts";
import { type LayerBias, layerBias } from "./layer-bias.ts";
import {
  type Choice,
  formatsOf,
  isLifted,
  type QuantizeWeightsOptions,
  type Shared,
  supportOf,
} from "./plan.ts";

/** Share of the mean diagonal added to Gram matrices, GPTQ's usual 1 %. */
const DAMP = 0.01;

/** Passes of coordinate descent: later ones gain less than 0.02 dB. */
const ROUNDS = 4;

/** Share of zeros where only the pattern is given. */
const HALF = 0.5;

/** Which methods look at the inputs of a layer. */
const NEEDS_DATA = { rtn: false, hqq: false, gptq: true, rounding: true, palette: true } as const;

/** Whether options ask for statistics at all. */
export function needsData(o: Pick<QuantizeWeightsOptions, "method">): boolean {
  return NEEDS_DATA[o.method];
}

/** Fails with SPARSE_CONFLICT where other options leave no room for zeros. */
export function checkSparse(o: QuantizeWeightsOptions): void {
  if (o.sparse === null) return;
  if (o.method !== "gptq" && o.method !== "rounding")
    fail("SPARSE_CONFLICT", {
      option: "method",
      value: o.method,
      why: "only error feedback fits zeros and integers together",
    });
  if (formatsOf(o).has("f4"))
    fail("SPARSE_CONFLICT", {
      option: "format",
      value: "f4",
      why: "only error feedback fits zeros, and 4-bit floats are rounded to nearest",
    });
  if (o.lowRank > 0)
    fail("SPARSE_CONFLICT", {
      option: "lowRank",
      value: String(o.lowRank),
      why: "the branch fills the zeros again",
    });
}

/** The zeros a layer gets: none where it is guarded or does not fit the pattern, which `fallBack` is told. */
function sparseOf(s: Shared, o: QuantizeWeightsOptions, left: (why: string) => void): SparseFit | null {
  if (o.sparse === null) return null;
  const { layer } = s.uses[0]!;
  const guarded = s.uses.find(({ guard }) => guard !== null && !isLifted(guard, s.format));
  if (guarded !== undefined) {
    left(`guarded layers stay dense (${guarded.guard})`);
    return null;
  }
  const { tensor, role } = layer;
  const { pattern, ratio = HALF } = o.sparse;
  const [rows, channels] = [tensor.dims[role.outAxis]!, tensor.dims[role.inAxis]!];
  const why = misfit(patternOf(pattern, ratio), rows, channels);
  if (why !== null) {
    left(why);
    return null;
  }
  return { pattern, ratio, taps: elementCount(tensor.dims) / (rows * channels) };
}

/** Whether a format is one of integers. */
export const isInteger = (format: Choice): boolean => format !== "f32" && format !== "f16" && format !== "f4";

/** Gram matrices of every layer that will be stored as integers. */
export function requestFor(
  graph: Graph,
  all: readonly Shared[],
  ctx: Pick<PassContext, "shapes">,
): StatisticsRequest | null {
  const grams = all
    .filter((s) => isInteger(s.format))
    .flatMap((s) => s.uses.map((u) => gramRequest(graph, ctx.shapes(), u.layer)))
    .filter((r) => r !== null);
  return grams.length === 0 ? null : { values: [], grams };
}

/** How one weight is fitted. */
export interface Fitting {
  /** `null`: each weight rounded for itself. */
  readonly fit: WeightFit | null;
  readonly method: QuantizeWeightsOptions["method"];
  /** Where the correction of the output's mean goes. */
  readonly bias: LayerBias | null;
}

/** Why weights are fitted otherwise than asked, with the names of their layers. */
export type Fallbacks = Map<string, string[]>;

const PLAIN: Fitting = { fit: null, method: "rtn", bias: null };

/** Rounding to nearest, with the branch when one is asked for. */
function without(base: Pick<WeightFit, "damp" | "actOrder" | "rounds" | "rank" | "sparse">): Fitting {
  if (base.rank === 0 && base.sparse === null) return PLAIN;
  return { fit: { ...base, method: "nearest", gram: null, mean: null }, method: "rtn", bias: null };
}

function inputs(s: Shared, ctx: PassContext): LayerInputs | null {
  const { tensor, role } = s.uses[0]!.layer;
  const size = elementCount(tensor.dims) / tensor.dims[role.outAxis]!;
  if (ctx.statistics === null) return null;
  return inputsOf(
    s.uses.map((u) => u.layer),
    size,
    ctx.statistics,
  );
}

/** The bias that can take up what the mean of a weight's output changes by. */
export function meanBias(graph: Graph, s: Shared): LayerBias | null {
  return s.uses.length === 1 ? layerBias(graph, s.uses[0]!.layer) : null;
}

/** Decides how a weight is fitted; what cannot be had is noted in `fallbacks`. */
export function fittingOf(
  graph: Graph,
  s: Shared,
  o: QuantizeWeightsOptions,
  ctx: PassContext,
  fallbacks: Fallbacks,
): Fitting {
  const { layer } = s.uses[0]!;
  const plain = o.method === "rtn" && o.lowRank === 0;
  const fallBack = (why: string): void => {
    const names = fallbacks.get(why) ?? [];
    fallbacks.set(why, [...names, layer.node.name]);
  };
  if (!isInteger(s.format) || plain) {
    if (s.format === "f4" && !plain) fallBack("4-bit floats are rounded to nearest, without a branch");
    return PLAIN;
  }
  const sparse = sparseOf(s, o, (why) =>
    ctx.decide({ node: layer.node.name, kind: "skipped", rule: "sparse", why, to: "dense" }),
  );
  if (!fittable({ tensor: layer.tensor, ...layer.role })) {
    fallBack("the output channels lie between summed axes");
    return PLAIN;
  }
  const base = { damp: DAMP, actOrder: o.actOrder, rounds: ROUNDS, rank: o.lowRank, sparse };
  const centred = s.format !== "f32" && supportOf(ctx.target, s.format).symmetricOnly === true;
  if (o.method === "hqq" && (o.symmetric || centred)) {
    fallBack("HQQ chooses zero points, and symmetric grids have none to choose");
    return without(base);
  }
  if (!needsData(o)) {
    const method = o.method === "hqq" ? "hqq" : "nearest";
    return { fit: { ...base, method, gram: null, mean: null }, method: o.method, bias: null };
  }
  const data = inputs(s, ctx);
  if (data === null) {
    fallBack(
      ctx.statistics === null
        ? "the model could not be sampled, so nothing is known of its layers' inputs"
        : "the layer's inputs are in groups, too many, or were not observed",
    );
    return without(base);
  }
  const bias = meanBias(graph, s);
  const method = o.method === "gptq" ? "gptq" : "rounding";
  const mean = bias === null ? null : data.mean;
  return { fit: { ...base, method, gram: data.gram, mean }, method: o.method, bias };
}

/** Records every fallback, one line per reason. */
export function decideFallbacks(fallbacks: Fallbacks, o: QuantizeWeightsOptions, ctx: PassContext): void {
  if (o.method === "palette" && o.lowRank > 0)
    ctx.decide({
      node: "",
      kind: "skipped",
      rule: "low-rank",
      why: "weights that are looked up in a codebook take no branch",
    });
  for (const [why, names] of fallbacks)
    ctx.decide({
      node: names.length === 1 ? names[0]! : "",
      kind: "downgraded",
      rule: "weight-method",
      why,
      from: o.method,
      to: o.sparse === null ? "rtn" : "rtn, zeros by magnitude",
      count: names.length,
    });
}
