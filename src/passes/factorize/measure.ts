import type { Oracle } from "../../calibrate/statistics/types.ts";
import { callWeights, openSwitchboard } from "../../calibrate/switchboard.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { ValueId } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { PassContext } from "../pass.ts";

/** Weights in a form whose effect on the output is measured: by value, what is stored now and what the form stands for. */
export interface Probe {
  readonly weights: readonly { readonly value: ValueId; readonly original: Tensor; make(): Promise<Dense> }[];
}

/** How much of the trajectory is run: six calls spread over it, three seeds each. */
const RECORDED = { calls: 6, seeds: 3 };

/** Noise over signal of the guided output with each probe alone in place, weighted over calls. */
export async function outputNoise(
  oracle: Oracle,
  ctx: Pick<PassContext, "model" | "reader">,
  probes: readonly Probe[],
): Promise<number[]> {
  const read = async (t: Tensor): Promise<Dense> => ({
    dtype: t.dtype,
    dims: t.dims,
    bytes: await ctx.reader.read(t),
  });
  const switches = [];
  for (const { value, original } of probes.flatMap((p) => p.weights))
    switches.push({ value, weight: await read(original) });
  const board = await openSwitchboard(oracle, ctx.model, switches, RECORDED);
  try {
    const weights = callWeights(board.calls);
    const out: number[] = [];
    for (const p of probes) {
      const setting = new Map<ValueId, Dense>();
      for (const w of p.weights) setting.set(w.value, await w.make());
      const { quality } = await board.measure(setting);
      const relative = quality.map((n, i) => (weights[i]! * n) / board.signal.quality[i]!);
      out.push(relative.reduce((a, b) => a + b, 0) / quality.length);
    }
    return out;
  } finally {
    await board.release();
  }
}
