import { fail } from "../../../diagnostics/index.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { cpuCost } from "../../../targets/cost/cpu.ts";
import { integerGain } from "../../../targets/cost/integer.ts";
import type { PassContext } from "../../pass.ts";
import { recordedLengths } from "../../recorded-lengths.ts";
import type { Price } from "./budget.ts";
import type { Candidates } from "./candidates.ts";

/** Passes over an activation that is quantized while the layer runs: one for its range, one to round it. */
const LOOKS = 2;

/** Estimated milliseconds of a weight's layers. */
interface Times {
  readonly float: number;
  /** Less on integers whose input is rounded while they run. */
  readonly gain: number;
}

/**
 * A budget of estimated milliseconds of one run on one core, or a share of what the model takes now, at the lengths of
 * the recorded calls. Formats that only store weights smaller count as float. Fails with ALLOCATION_LATENCY_UNKNOWN where
 * there is no cost table of the target, and ALLOCATION_SHAPES_OPEN.
 */
export function latencyPrice(
  asked: number | string,
  weights: readonly Candidates[],
  ctx: PassContext,
): Price {
  const { target, model } = ctx;
  if (target?.kind !== "cpu") fail("ALLOCATION_LATENCY_UNKNOWN", { target: target?.id ?? null });
  const { seconds, nodes, graph } = cpuCost(model, { bindings: recordedLengths(ctx) });
  const times = new Map<Candidates, Times>();
  for (const c of weights) {
    let [float, gain] = [0, 0];
    for (const { layer } of c.shared.uses) {
      const [time, cost] = [nodes.get(layer.node.id), graph.nodes.get(layer.node.id)];
      if (time === undefined || cost === undefined) fail("ALLOCATION_SHAPES_OPEN", { node: layer.node.name });
      const constants = layer.node.inputs.reduce((n, id) => {
        const t = model.graph.constant(id);
        return t === null ? n : n + tensorBytes(t);
      }, 0);
      const quantized = (LOOKS * (cost.bytesRead - constants)) / 4;
      float += 1e3 * time;
      gain += 1e3 * integerGain({ flops: cost.flops, quantized, dequantized: 0 });
    }
    times.set(c, { float, gain });
  }
  const now = 1e3 * seconds;
  const rest = now - weights.reduce((sum, c) => sum + times.get(c)!.float, 0);
  const limit = typeof asked === "string" ? (Number.parseFloat(asked) / 100) * now : asked;
  return {
    limit: limit - rest,
    unit: "ms",
    cost(c, option) {
      const { float, gain } = times.get(c)!;
      return option.dynamic === null ? float : Math.max(0, float - gain);
    },
  };
}
