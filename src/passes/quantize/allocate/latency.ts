import { fail } from "../../../diagnostics/index.ts";
import { DTYPES, elementCount } from "../../../ir/dtype.ts";
import type { Graph, Node } from "../../../ir/graph.ts";
import { type Tensor, tensorBytes } from "../../../ir/tensor.ts";
import { basisOf } from "../../../targets/cost/basis.ts";
import { type LayerForm, type LayerNow, layerSeconds } from "../../../targets/cost/layer.ts";
import { type Roofline, rooflineCost } from "../../../targets/cost/roofline.ts";
import { timeText } from "../../../targets/cost/time.ts";
import type { Target } from "../../../targets/target.ts";
import type { PassContext } from "../../pass.ts";
import { recordedLengths } from "../../recorded-lengths.ts";
import type { Price } from "./budget.ts";
import type { Candidate, Candidates } from "./candidates.ts";

const MS = 1e3;
/** Share of a run that sums of times are rounded by. */
const ROUNDING = 1e-9;

/** What a layer takes now. Fails with ALLOCATION_SHAPES_OPEN. */
function layerNow(graph: Graph, now: Roofline, node: Node, weight: Tensor): LayerNow {
  const [work, cost] = [now.nodes.get(node.id), now.graph.nodes.get(node.id)];
  if (work === undefined || cost === undefined) fail("ALLOCATION_SHAPES_OPEN", { node: node.name });
  const constants = node.inputs.reduce((n, id) => {
    const t = graph.constant(id);
    return t === null ? n : n + tensorBytes(t);
  }, 0);
  return { work, weightBytes: tensorBytes(weight), activations: (cost.bytesRead - constants) / 4 };
}

/** Bytes that kernels read of a stored weight: half-precision scales are widened to the type of the layer on loading. */
function formOf(option: Candidate, weight: Tensor): LayerForm {
  const { written, dynamic, bytes } = option;
  if (dynamic !== null) {
    const { bias } = dynamic.layer;
    return { spelling: "dynamic", bytes: bytes + (bias === null ? 0 : tensorBytes(bias)) };
  }
  if (written === null) return { spelling: "float", bytes };
  const resident = written.stored.reduce(
    (n, t) =>
      n + (t.dtype === "f16" ? (elementCount(t.dims) * DTYPES[weight.dtype].bits) / 8 : tensorBytes(t)),
    0,
  );
  return { spelling: written.spelling, bytes: resident };
}

/** Seconds of the Add that an operator on integers takes over. */
function absorbed(now: Roofline, { dynamic }: Candidate): number {
  const add = dynamic?.layer.biasNode ?? null;
  return add === null ? 0 : (now.nodes.get(add.id)?.seconds ?? 0);
}

/** Says where the estimates come from, and what they leave out. */
function explainBasis(target: Target, now: Roofline, limit: number, ctx: PassContext): void {
  const { machine } = target;
  ctx.decide({
    node: "",
    kind: "applied",
    rule: "estimate",
    why: `one run takes ${timeText(now.seconds, 4)} now and may take ${timeText(limit / MS, 4)}, both estimated: ${basisOf(machine!, now.uncounted)}`,
  });
  if (now.uncounted.length > 0)
    ctx.decide({
      node: "",
      kind: "downgraded",
      rule: "estimate",
      why: `no rate of ${machine!.name} is published for products in ${now.uncounted.join(", ")}, so these layers count by what they read and write`,
      from: "arithmetic and memory",
      to: "memory alone",
    });
}

/**
 * A budget of estimated milliseconds of one run on the target's machine, or a share of what the model takes now, at the
 * lengths of the recorded calls. Formats that only store weights smaller count as float. Fails with
 * ALLOCATION_LATENCY_UNKNOWN without a machine, and ALLOCATION_SHAPES_OPEN.
 */
export function latencyPrice(
  asked: number | string,
  weights: readonly Candidates[],
  ctx: PassContext,
): Price {
  const { target, model } = ctx;
  const now = target === null ? null : rooflineCost(model, target, { bindings: recordedLengths(ctx) });
  if (target === null || now === null)
    return fail("ALLOCATION_LATENCY_UNKNOWN", { target: target?.id ?? null });
  const times = new Map(
    weights.map((c): [Candidates, ReadonlyMap<Candidate, number>] => {
      const layers = c.shared.uses.map(({ layer }) => layerNow(model.graph, now, layer.node, layer.tensor));
      const time = (o: Candidate): number => {
        const form = formOf(o, c.tensor);
        const own = layers.reduce((sum, l) => sum + layerSeconds(target, l, form), 0);
        return MS * (own - absorbed(now, o));
      };
      return [c, new Map(c.options.map((o) => [o, time(o)]))];
    }),
  );
  const before = MS * now.seconds;
  const weighed = weights.flatMap((c) => c.shared.uses.map((u) => now.nodes.get(u.layer.node.id)!.seconds));
  const rest = before - MS * weighed.reduce((a, b) => a + b, 0);
  const limit = typeof asked === "string" ? (Number.parseFloat(asked) / 100) * before : asked;
  explainBasis(target, now, limit, ctx);
  return {
    limit: limit - rest + ROUNDING * before,
    unit: "ms",
    estimate: { before, rest },
    cost: (c, option) => times.get(c)!.get(option)!,
  };
}
