import { convert, floats } from "../../../calibrate/dense.ts";
import type { Oracle } from "../../../calibrate/statistics/types.ts";
import { callWeights, type Damage, openSwitchboard } from "../../../calibrate/switchboard.ts";
import type { Dense } from "../../../ir/evaluator.ts";
import type { Tensor, TensorReader } from "../../../ir/tensor.ts";
import type { PassContext } from "../../pass.ts";
import type { Candidates } from "./candidates.ts";

/** Where noise is measured: the calls of a switchboard, or the weights themselves. */
export interface Bench {
  /** Energy of the undisturbed signal per place. */
  readonly signal: Damage;
  /** Weight of each place, mean 1. */
  readonly weights: Float64Array;
  /** Noise when some weights take other forms, by index of the weight; the others stay as they are. */
  measure(picks: ReadonlyMap<number, number>): Promise<Damage>;
  release(): Promise<void>;
}

/** Bytes of candidate weights kept for later runs. */
const KEPT = 256 << 20;

async function denseOf(t: Tensor, reader: TensorReader): Promise<Dense> {
  return { dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) };
}

/** The floats of candidates, kept while there is room: making them may take a search. */
function weightStore(reader: TensorReader): (c: Candidates, pick: number) => Promise<Dense> {
  const kept = new Map<Tensor, Dense>();
  let room = KEPT;
  return async (c, pick) => {
    const { weight } = c.options[pick]!;
    const known = kept.get(weight);
    if (known !== undefined) return known;
    const made = convert(await denseOf(weight, reader), c.tensor.dtype);
    if (made.bytes.length <= room) {
      room -= made.bytes.length;
      kept.set(weight, made);
    }
    return made;
  };
}

/** No noise anywhere. */
function silence(like: Damage): Damage {
  return {
    quality: new Float64Array(like.quality.length),
    content: like.content === null ? null : new Float64Array(like.content.length),
  };
}

/** Noise at the network's output, on the original's recorded trajectory. */
export async function outputBench(
  oracle: Oracle,
  ctx: PassContext,
  weights: readonly Candidates[],
  options: { readonly calls: number; readonly seeds: number },
): Promise<Bench> {
  const switches = [];
  for (const c of weights)
    switches.push({ value: c.shared.value, weight: await denseOf(c.tensor, ctx.reader) });
  const board = await openSwitchboard(oracle, ctx.model, switches, options);
  const store = weightStore(ctx.reader);
  return {
    signal: board.signal,
    weights: callWeights(board.calls),
    async measure(picks) {
      const setting = new Map<Candidates["shared"]["value"], Dense>();
      for (const [i, pick] of picks) {
        const c = weights[i]!;
        if (c.options[pick]!.weight !== c.tensor) setting.set(c.shared.value, await store(c, pick));
      }
      return setting.size === 0 ? silence(board.signal) : await board.measure(setting);
    },
    release: board.release,
  };
}

/** Without a trajectory: the error of each weight relative to its energy, all weights alike. One place. */
export function weightBench(ctx: PassContext, weights: readonly Candidates[]): Bench {
  async function relativeError(c: Candidates, pick: number): Promise<number> {
    if (c.options[pick]!.weight === c.tensor) return 0;
    const a = floats(await denseOf(c.tensor, ctx.reader));
    const b = floats(await denseOf(c.options[pick]!.weight, ctx.reader));
    let [signal, noise] = [0, 0];
    for (const [i, x] of a.entries()) {
      signal += x * x;
      noise += (b[i]! - x) ** 2;
    }
    return signal === 0 ? 0 : noise / signal;
  }
  const count = Math.max(1, weights.length);
  const known = new Map<string, number>();
  return {
    signal: { quality: Float64Array.of(1), content: null },
    weights: Float64Array.of(1),
    async measure(picks) {
      let sum = 0;
      for (const [i, pick] of picks) {
        const key = `${i} ${pick}`;
        const error = known.get(key) ?? (await relativeError(weights[i]!, pick));
        known.set(key, error);
        sum += error;
      }
      return { quality: Float64Array.of(sum / count), content: null };
    },
    async release() {},
  };
}

/** Damage of every weight in every form, the others as they are: `damages[weight][form]`. */
export async function sensitivities(bench: Bench, weights: readonly Candidates[]): Promise<Damage[][]> {
  const out: Damage[][] = [];
  for (const [i, c] of weights.entries()) {
    const row: Damage[] = [];
    for (const pick of c.options.keys()) row.push(await bench.measure(new Map([[i, pick]])));
    out.push(row);
  }
  return out;
}
