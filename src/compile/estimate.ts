import type { Model } from "../ir/graph.ts";
import type { Bindings } from "../passes/pass.ts";
import type { Estimate } from "../report/types.ts";
import { ratesText } from "../targets/cost/basis.ts";
import { rooflineCost } from "../targets/cost/roofline.ts";
import type { Target } from "../targets/target.ts";
import { symbolBindings } from "./flops.ts";

/** Nodes a report lists. */
const SLOWEST = 10;

/**
 * Estimated seconds of one run of a build on its target's machine; `null` for targets without one and where shapes stay
 * open.
 */
export function estimateOf(model: Model, target: Target, lengths: Bindings): Estimate | null {
  const found = rooflineCost(model, target, { bindings: symbolBindings(model, lengths) });
  if (found === null || found.open.length > 0) return null;
  const bounds = { arithmetic: 0, memory: 0, overhead: 0 };
  for (const e of found.nodes.values()) bounds[e.bound] += e.seconds;
  const slowest = [...found.nodes]
    .sort((a, b) => b[1].seconds - a[1].seconds || a[0] - b[0])
    .slice(0, SLOWEST)
    .map(([id, { seconds, bound, bytes, flops, dtype }]) => {
      const { name, op } = model.graph.node(id);
      return { node: name, op, seconds, bound, bytes, flops, dtype };
    });
  return {
    seconds: found.seconds,
    machine: target.machine!.name,
    basis: ratesText(target.machine!, found.uncounted),
    bounds,
    bytes: found.bytes,
    flops: Object.fromEntries([...found.flops].sort(([a], [b]) => (a < b ? -1 : 1))),
    slowest,
  };
}
