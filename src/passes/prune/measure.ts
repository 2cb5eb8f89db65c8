import type { Oracle } from "../../calibrate/statistics/types.ts";
import { openSwitchboard, type Switch } from "../../calibrate/switchboard.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Model, ValueId } from "../../ir/graph.ts";
import type { Tensor, TensorReader } from "../../ir/tensor.ts";
import { asF32, encodeFloat } from "../../runtime/kernels/elements.ts";
import { biasOf, weightOf } from "../../runtime/kernels/repair-columns.ts";
import { type Cut, type Level, readerAt } from "./levels.ts";
import type { PruneOptions } from "./options.ts";

/** Calls and seeds that one measurement runs. */
const CALLS = 6;
const SEEDS = 2;
/** Shares of a group at which it is measured; other levels follow the predicted curve between them. */
const SHARES = [0.25, 0.6];

async function dense(tensor: Tensor, reader: TensorReader): Promise<Dense> {
  return { dtype: tensor.dtype, dims: tensor.dims, bytes: await reader.read(tensor) };
}

/** The weights of a cut's readers at a level, masked and repaired, in their old shapes. */
function masked(
  cut: Cut,
  count: number,
  o: PruneOptions,
  original: ReadonlyMap<ValueId, Dense>,
): Map<ValueId, Dense> {
  const out = new Map<ValueId, Dense>();
  for (const r of cut.readers!) {
    const found = readerAt(r, cut.order, count, o);
    const { tensor, value } = r.layer;
    const weight = weightOf(found.weights, tensor.dims, r.params);
    out.set(value, { dtype: tensor.dtype, dims: tensor.dims, bytes: encodeFloat(tensor.dtype, weight) });
    if (r.bias === null || found.correction === null) continue;
    const old = original.get(r.bias.value)!;
    const gain = biasOf(found, tensor.dims[r.params.outAxis]!);
    const sum = asF32(old).map((b, i) => b + gain[i]!);
    out.set(r.bias.value, { ...old, bytes: encodeFloat(old.dtype, sum) });
  }
  return out;
}

/** A level with its error as predicted and, at one call, as measured. */
interface Point {
  readonly predicted: number;
  readonly measured: number;
}

/** Measured harm at any predicted error: straight lines between points in logarithms, proportional beyond them. */
function along(points: readonly Point[], predicted: number): number {
  const after = points.findIndex((p) => p.predicted >= predicted);
  const b = points[after < 0 ? points.length - 1 : after]!;
  const a = points[after - 1];
  if (a === undefined || after < 0 || a.predicted === b.predicted || a.measured <= 0)
    return (b.measured * predicted) / Math.max(b.predicted, Number.MIN_VALUE);
  const t = Math.log(predicted / a.predicted) / Math.log(b.predicted / a.predicted);
  return a.measured * (b.measured / a.measured) ** t;
}

/**
 * Levels whose harm is what they do to the network's output, relative to the output and summed over calls: each group is
 * masked and repaired at a shallow and a deep level in one session whose weights are inputs, and its predicted curve
 * is laid through what was found.
 */
export async function measured(
  model: Model,
  cuts: readonly Cut[],
  o: PruneOptions,
  use: { readonly oracle: Oracle; readonly reader: TensorReader },
): Promise<Cut[]> {
  const switches = new Map<ValueId, Switch>();
  for (const r of cuts.flatMap((c) => c.readers ?? [])) {
    switches.set(r.layer.value, { value: r.layer.value, weight: await dense(r.layer.tensor, use.reader) });
    if (r.bias !== null)
      switches.set(r.bias.value, { value: r.bias.value, weight: await dense(r.bias.tensor, use.reader) });
  }
  const original = new Map([...switches].map(([value, s]) => [value, s.weight]));
  const board = await openSwitchboard(use.oracle, model, [...switches.values()], {
    calls: CALLS,
    seeds: SEEDS,
  });
  const measure = async (cut: Cut, level: Level): Promise<Float64Array> => {
    const { quality } = await board.measure(masked(cut, level.count, o, original));
    return quality.map((q, i) => q / Math.max(board.signal.quality[i]!, Number.MIN_VALUE));
  };
  try {
    const out: Cut[] = [];
    for (const cut of cuts) {
      const nearest = (share: number): Level => {
        const at = share * cut.group.units.length;
        return cut.levels.reduce((a, b) => (Math.abs(b.count - at) < Math.abs(a.count - at) ? b : a));
      };
      const found: { readonly predicted: number; readonly calls: Float64Array }[] = [];
      for (const level of new Set(SHARES.map(nearest)))
        found.push({ predicted: level.harm, calls: await measure(cut, level) });
      const levels = cut.levels.map((l): Level => {
        const byCall = Float64Array.from(board.calls, (_, i) =>
          along(
            found.map((f): Point => ({ predicted: f.predicted, measured: f.calls[i]! })),
            l.harm,
          ),
        );
        return { ...l, byCall, harm: byCall.reduce((a, b) => a + b, 0) };
      });
      out.push({ ...cut, levels });
    }
    return out;
  } finally {
    await board.release();
  }
}
