import { fail } from "../../../diagnostics/index.ts";
import { graphCost } from "../../../ir/cost.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { modelBytes } from "../../../ir/weights.ts";
import type { PassContext } from "../../pass.ts";
import { recordedLengths } from "../../recorded-lengths.ts";
import type { Candidate, Candidates } from "./candidates.ts";
import { latencyPrice } from "./latency.ts";

/** What the weights together may cost; exactly one is given. */
export interface Budget {
  /** Bytes of all constants of the model afterwards, or a percentage of those before. */
  readonly bytes?: number | string;
  /** Stored bits per weight, scales and zero points included, over the weights that are allocated. */
  readonly averageBits?: number;
  /** The same with every weight counted as often as it is multiplied. */
  readonly flopBits?: number;
  /** Estimated milliseconds of one run on the target's machine, or a percentage of those before. */
  readonly latency?: number | string;
}

/** A budget as a number and what each form of a weight takes of it. */
export interface Price {
  readonly limit: number;
  readonly unit: string;
  /** Of a budget of time: milliseconds of one run before, and those of what is not allocated. */
  readonly estimate?: { readonly before: number; readonly rest: number };
  cost(c: Candidates, option: Candidate): number;
}

/** Share of each weight in the multiplications of one run. Fails with ALLOCATION_SHAPES_OPEN. */
function flopShares(weights: readonly Candidates[], ctx: PassContext): ReadonlyMap<Candidates, number> {
  const { nodes } = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: recordedLengths(ctx) });
  const flops = weights.map((c) =>
    c.shared.uses.reduce((sum, { layer: { node } }) => {
      const cost = nodes.get(node.id);
      return cost === undefined ? fail("ALLOCATION_SHAPES_OPEN", { node: node.name }) : sum + cost.flops;
    }, 0),
  );
  const all = flops.reduce((a, b) => a + b, 0);
  return new Map(weights.map((c, i) => [c, flops[i]! / all]));
}

/** Reads a budget for the weights at hand. Fails with ALLOCATION_SHAPES_OPEN and ALLOCATION_LATENCY_UNKNOWN. */
export function priceOf(budget: Budget, weights: readonly Candidates[], ctx: PassContext): Price {
  if (budget.latency !== undefined) return latencyPrice(budget.latency, weights, ctx);
  const bits = (c: Candidates, o: Candidate): number => (8 * o.bytes) / c.elements;
  if (budget.flopBits !== undefined) {
    const shares = flopShares(weights, ctx);
    return {
      limit: budget.flopBits,
      unit: "bits a multiplication",
      cost: (c, o) => shares.get(c)! * bits(c, o),
    };
  }
  const bytes = { unit: "bytes", cost: (_: Candidates, o: Candidate) => o.bytes };
  if (budget.averageBits !== undefined) {
    const elements = weights.reduce((n, c) => n + c.elements, 0);
    return { ...bytes, limit: Math.floor((budget.averageBits * elements) / 8) };
  }
  const before = modelBytes(ctx.model);
  const asked =
    typeof budget.bytes === "string"
      ? (Number.parseFloat(budget.bytes) / 100) * before
      : (budget.bytes ?? before);
  const rest = before - weights.reduce((n, c) => n + tensorBytes(c.tensor), 0);
  return { ...bytes, limit: Math.floor(asked - rest) };
}
