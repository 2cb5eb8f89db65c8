import { elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model, NodeId, ValueId } from "../ir/graph.ts";
import type { Session } from "../runtime/index.ts";
import { batchedNames, sessionDenoiser } from "./denoiser.ts";
import { rows } from "./dense.ts";
import { conditioningEffect, guide, splitVariance } from "./guidance.ts";
import type { InputRoles } from "./roles.ts";
import type { Oracle, OracleCall } from "./statistics/types.ts";
import { type RoundingSwitch, type Switch, switchboardModel } from "./switchboard-model.ts";

export { type RoundingSwitch, type Switch, switchboardModel } from "./switchboard-model.ts";

const OFF: Dense = { dtype: "bool", dims: [], bytes: Uint8Array.of(0) };
const ON: Dense = { dtype: "bool", dims: [], bytes: Uint8Array.of(1) };

/** Weights in place of the original ones, by value. */
export type Setting = ReadonlyMap<ValueId, Dense>;

/** What a setting does to the network's output, one entry per call. */
export interface Damage {
  /** Σ ‖ε̂ − ε‖² of the guided output. */
  readonly quality: Float64Array;
  /** The same of the conditional minus the unconditional half, what the condition does; `null` without two halves. */
  readonly content: Float64Array | null;
}

/** One session whose weights are inputs. It holds native memory until {@link Switchboard.release} is called. */
export interface Switchboard {
  /** The calls that settings are run on. */
  readonly calls: readonly OracleCall[];
  /** Σ ‖ε‖² of the guided output, and of what the condition does, with the original weights. */
  readonly signal: Damage;
  /**
   * Runs every call with some weights exchanged and compares with the original weights. `rounded` names layers whose
   * input is rounded too, of those that {@link SwitchboardOptions.roundings} names.
   */
  measure(setting: Setting, rounded?: ReadonlySet<NodeId>): Promise<Damage>;
  release(): Promise<void>;
}

/** How much of the recorded trajectory a switchboard runs. */
export interface SwitchboardOptions {
  /** Calls, evenly spread over the trajectory. */
  readonly calls: number;
  /** Seeds of each call, the first ones. */
  readonly seeds: number;
  /** Layers whose input can be rounded. */
  readonly roundings?: readonly RoundingSwitch[];
}

/** `count` of `of` indices, evenly spread, both ends included when there is more than one. */
function spread(of: number, count: number): number[] {
  if (count >= of) return Array.from({ length: of }, (_, i) => i);
  if (count <= 1) return [of >> 1];
  return Array.from({ length: count }, (_, i) => Math.round((i * (of - 1)) / (count - 1)));
}

/** The first rows of each half of a batch. */
function firstOfHalves(d: Dense, halves: 1 | 2, count: number): Dense {
  const each = d.dims[0]! / halves;
  const parts = Array.from({ length: halves }, (_, h) => rows(d, h * each, h * each + count));
  const size = parts[0]!.bytes.length;
  const bytes = new Uint8Array(size * halves);
  for (const [h, p] of parts.entries()) bytes.set(p.bytes, h * size);
  return { dtype: d.dtype, dims: [count * halves, ...d.dims.slice(1)], bytes };
}

/** A call with its first seeds only; feeds that do not count the batch stay as they are. */
function firstSeeds(oracle: Oracle, roles: InputRoles, call: OracleCall, seeds: number): OracleCall {
  const batch = call.outputs.get(oracle.output)!.dims[0]!;
  if (seeds * oracle.halves >= batch) return call;
  const cut = (d: Dense): Dense => firstOfHalves(d, oracle.halves, seeds);
  const names = batchedNames(roles);
  return {
    ...call,
    feeds: new Map([...call.feeds].map(([name, d]) => [name, names.has(name) ? cut(d) : d])),
    outputs: new Map([...call.outputs].map(([name, d]) => [name, cut(d)])),
  };
}

/** The session without its switches: they are fed with what `weights` gives at each run. */
function hidden(session: Session, weights: () => ReadonlyMap<string, Dense>): Session {
  const names = weights();
  return {
    inputs: session.inputs.filter((p) => !names.has(p.name)),
    outputs: session.outputs,
    run: (feeds, fetches) => session.run(new Map([...feeds, ...weights()]), fetches),
    release: () => session.release(),
  };
}

/** What is compared of one output. */
interface View {
  readonly guided: Float32Array;
  readonly effect: Float32Array | null;
}

function viewOf(oracle: Oracle, call: OracleCall, output: Dense): View {
  const recorded = call.outputs.get(oracle.output)!;
  const { prediction } = splitVariance(output, elementCount(recorded.dims) / recorded.dims[0]!);
  return {
    guided: guide(prediction, oracle.halves, oracle.guidance),
    effect: oracle.halves === 2 ? conditioningEffect(prediction) : null,
  };
}

function energy(a: Float32Array, b: Float32Array | null): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const d = a[i]! - (b === null ? 0 : b[i]!);
    sum += d * d;
  }
  return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum;
}

/**
 * Opens one session of the model in which the given weights are inputs. Scoring L layers × B formats then takes L·B·calls
 * runs and no further session. The comparison is with the model's own output for the original weights, so that what
 * other passes have already done to it does not count.
 */
export async function openSwitchboard(
  oracle: Oracle,
  model: Model,
  switches: readonly Switch[],
  options: SwitchboardOptions,
): Promise<Switchboard> {
  const roundings = options.roundings ?? [];
  const made = switchboardModel(model, switches, roundings);
  const session = await oracle.open(made.model);
  const off = roundings.map((_, i): [string, Dense] => [made.roundings[i]!, OFF]);
  const original = new Map([...switches.map((s, i): [string, Dense] => [made.names[i]!, s.weight]), ...off]);
  const nameOf = new Map(switches.map((s, i) => [s.value, made.names[i]!]));
  const roundingOf = new Map(roundings.map((r, i) => [r.node, made.roundings[i]!]));
  let weights: ReadonlyMap<string, Dense> = original;
  const denoiser = sessionDenoiser(hidden(session, () => weights));
  const calls = spread(oracle.calls.length, options.calls).map((i) =>
    firstSeeds(oracle, denoiser.roles, oracle.calls[i]!, options.seeds),
  );

  async function view(call: OracleCall, setting: Setting, rounded: ReadonlySet<NodeId>): Promise<View> {
    weights = new Map([
      ...original,
      ...[...setting].map(([v, w]): [string, Dense] => [nameOf.get(v)!, w]),
      ...[...rounded].map((n): [string, Dense] => [roundingOf.get(n)!, ON]),
    ]);
    return viewOf(oracle, call, await denoiser.run(call.feeds));
  }
  const base: View[] = [];
  for (const call of calls) base.push(await view(call, new Map(), new Set()));
  const energies = (of: (i: number) => { quality: number; content: number }): Damage => {
    const all = calls.map((_, i) => of(i));
    return {
      quality: Float64Array.from(all, (e) => e.quality),
      content: oracle.halves === 2 ? Float64Array.from(all, (e) => e.content) : null,
    };
  };
  return {
    calls,
    signal: energies((i) => ({
      quality: energy(base[i]!.guided, null),
      content: base[i]!.effect === null ? 0 : energy(base[i]!.effect!, null),
    })),
    async measure(setting, rounded = new Set()) {
      const views: View[] = [];
      for (const call of calls) views.push(await view(call, setting, rounded));
      return energies((i) => {
        const [a, b] = [views[i]!, base[i]!];
        return {
          quality: energy(a.guided, b.guided),
          content: a.effect === null || b.effect === null ? 0 : energy(a.effect, b.effect),
        };
      });
    },
    release: () => session.release(),
  };
}

/** The weight of each call in sums over calls; mean 1. */
export function callWeights(calls: readonly OracleCall[]): Float64Array {
  const sum = calls.reduce((s, c) => s + c.weight, 0);
  return Float64Array.from(calls, (c) => (sum > 0 ? (c.weight * calls.length) / sum : 1));
}
