import { convert, floats } from "../../../calibrate/dense.ts";
import type { Oracle } from "../../../calibrate/statistics/types.ts";
import { callWeights, type Damage, openSwitchboard, type Switch } from "../../../calibrate/switchboard.ts";
import type { Dense } from "../../../ir/evaluator.ts";
import type { NodeId, ValueId } from "../../../ir/graph.ts";
import { inlineTensor, type Tensor, type TensorReader, tensorBytes } from "../../../ir/tensor.ts";
import type { PassContext } from "../../pass.ts";
import { correctedBias } from "../layer-bias.ts";
import type { Candidate, Candidates } from "./candidates.ts";
import { storedFloats } from "./stored.ts";

/** Where noise is measured: the calls of a switchboard, or the weights themselves. */
export interface Bench {
  /** Energy of the undisturbed signal per place. */
  readonly signal: Damage;
  /** Weight of each place, mean 1. */
  readonly weights: Float64Array;
  /** Starts making the forms of a weight that will be measured soon. */
  prepare(index: number): void;
  /** Noise when some weights take other forms, by index of the weight; the others stay as they are. */
  measure(picks: ReadonlyMap<number, number>): Promise<Damage>;
  release(): Promise<void>;
}

/** Bytes of candidate weights kept for later runs. */
const KEPT = 256 << 20;

async function denseOf(t: Tensor, reader: TensorReader): Promise<Dense> {
  return { dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) };
}

/** One candidate's floats: the weight, and the bias where it changes too. */
interface Made {
  readonly weight: Dense;
  readonly bias: Dense | null;
}

async function make(c: Candidates, candidate: Candidate, reader: TensorReader): Promise<Made> {
  const { written, bias, dynamic } = candidate;
  if (dynamic !== null)
    return { weight: convert(await denseOf(dynamic.weight, reader), c.tensor.dtype), bias: null };
  if (written === null) return { weight: await denseOf(c.tensor, reader), bias: null };
  const { weight, correction } = await storedFloats(written, reader);
  const after =
    bias === null || correction === null
      ? null
      : correctedBias(bias, inlineTensor("f32", correction.dims, correction.bytes));
  return {
    weight: convert(weight, c.tensor.dtype),
    bias: after === null ? null : convert(await denseOf(after, reader), bias!.tensor.dtype),
  };
}

/** The floats of candidates, kept while there is room: making them may take a search. */
function candidateStore(reader: TensorReader): {
  get(c: Candidates, pick: number): Promise<Made>;
  /** Starts making a form that `get` will find, when there is room for it. */
  ahead(c: Candidates, pick: number): void;
} {
  const kept = new Map<Candidate, Promise<Made>>();
  let room = KEPT;
  const get = (c: Candidates, pick: number): Promise<Made> => {
    const candidate = c.options[pick]!;
    const known = kept.get(candidate);
    if (known !== undefined) return known;
    const made = make(c, candidate, reader);
    const bytes = tensorBytes(c.tensor);
    if (bytes <= room) {
      room -= bytes;
      kept.set(candidate, made);
    }
    return made;
  };
  return {
    get,
    ahead(c, pick) {
      // A failure is thrown where the form is measured.
      if (tensorBytes(c.tensor) <= room) get(c, pick).catch(() => {});
    },
  };
}

/** Every weight, and every bias that some candidate changes, with what is fed unless a setting says otherwise. */
async function switchesOf(weights: readonly Candidates[], reader: TensorReader): Promise<Switch[]> {
  const out: Switch[] = [];
  const biases = new Map<ValueId, Tensor>();
  for (const c of weights) {
    out.push({ value: c.shared.value, weight: await denseOf(c.tensor, reader) });
    for (const o of c.options) if (o.bias !== null) biases.set(o.bias.value, o.bias.tensor);
  }
  for (const [value, t] of biases) out.push({ value, weight: await denseOf(t, reader) });
  return out;
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
  const switches = await switchesOf(weights, ctx.reader);
  const roundings = weights.flatMap((c) =>
    c.options.flatMap(({ dynamic }) =>
      dynamic === null
        ? []
        : [{ node: dynamic.layer.node.id, input: dynamic.layer.node.inputs.indexOf(dynamic.layer.input) }],
    ),
  );
  const board = await openSwitchboard(oracle, ctx.model, switches, { ...options, roundings });
  const store = candidateStore(ctx.reader);
  return {
    signal: board.signal,
    weights: callWeights(board.calls),
    prepare(index) {
      const c = weights[index];
      if (c !== undefined) for (const pick of c.options.keys()) store.ahead(c, pick);
    },
    async measure(picks) {
      const setting = new Map<ValueId, Dense>();
      const rounded = new Set<NodeId>();
      for (const [i, pick] of picks) {
        const c = weights[i]!;
        const candidate = c.options[pick]!;
        if (candidate.dynamic !== null) rounded.add(candidate.dynamic.layer.node.id);
        else if (candidate.written === null) continue;
        const { weight, bias } = await store.get(c, pick);
        setting.set(c.shared.value, weight);
        if (bias !== null) setting.set(candidate.bias!.value, bias);
      }
      return setting.size === 0 ? silence(board.signal) : await board.measure(setting, rounded);
    },
    release: board.release,
  };
}

/** Without a trajectory: the error of each weight relative to its energy, all weights alike. One place. */
export function weightBench(ctx: PassContext, weights: readonly Candidates[]): Bench {
  async function relativeError(c: Candidates, pick: number): Promise<number> {
    const { written, dynamic } = c.options[pick]!;
    if (written === null && dynamic === null) return 0;
    const a = floats(await denseOf(c.tensor, ctx.reader));
    const b = floats((await make(c, c.options[pick]!, ctx.reader)).weight);
    let [signal, noise] = [0, 0];
    for (const [i, x] of a.entries()) {
      signal += x * x;
      noise += (b[i]! - x) ** 2;
    }
    return signal === 0 ? 0 : noise / signal;
  }
  const count = Math.max(1, weights.length);
  const known = new Map<string, Promise<number>>();
  const error = (i: number, pick: number): Promise<number> => {
    const key = `${i} ${pick}`;
    const found = known.get(key) ?? relativeError(weights[i]!, pick);
    known.set(key, found);
    return found;
  };
  return {
    signal: { quality: Float64Array.of(1), content: null },
    weights: Float64Array.of(1),
    prepare(index) {
      // A failure is thrown where the form is measured.
      for (const pick of weights[index]?.options.keys() ?? []) error(index, pick).catch(() => {});
    },
    async measure(picks) {
      let sum = 0;
      for (const [i, pick] of picks) sum += await error(i, pick);
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
    for (let ahead = i; ahead <= i + 2; ahead++) bench.prepare(ahead);
    for (const pick of c.options.keys()) row.push(await bench.measure(new Map([[i, pick]])));
    out.push(row);
  }
  return out;
}
