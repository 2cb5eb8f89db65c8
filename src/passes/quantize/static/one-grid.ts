import type { Statistics, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import { numbersOf } from "../../../ir/constants.ts";
import type { Graph, Node, ValueId } from "../../../ir/graph.ts";
import { movedInputs } from "../../../targets/moves.ts";
import { type GridSettings, type Quantizer, quantizerOf } from "./grids.ts";
import { unionOf } from "./interleave.ts";
import type { LayerPlan, SitePlan } from "./plan.ts";

/** What of a graph moves data on integers. */
export interface MovingRules {
  readonly graph: Graph;
  /** Operators that stay on integers between two conversions of one grid. */
  readonly operators: readonly string[];
  /** Activations have 16 bits: quantizing what else a Concat reads costs nothing that shows. */
  readonly wide: boolean;
}

/** Values whose elements a node moves, where the target does that on integers; `null` otherwise. */
export function movedOnIntegers(node: Node, { graph, operators }: MovingRules): readonly ValueId[] | null {
  if (!operators.includes(node.op) || node.outputs.some((o) => o !== null && graph.isOutput(o))) return null;
  const moved = movedInputs(node, (id) => numbersOf(graph.constant(id)));
  return moved?.every((id) => graph.constant(id) === null) ? moved : null;
}

/**
 * Whether a Concat that feeds quantized layers is put together of integers, whatever its inputs are: everything that
 * reads it quantizes it, or quantizing it for the others costs nothing that shows.
 */
function closes(node: Node, readers: ReadonlyMap<ValueId, number>, { graph, wide }: MovingRules): boolean {
  const out = node.outputs[0]!;
  const quantizing = node.op === "Concat" ? readers.get(out) : undefined;
  return quantizing !== undefined && (wide || quantizing === graph.users(out).length);
}

/** Values that share a grid, each group under the id of one of them. */
interface Groups {
  of(id: ValueId): ValueId;
  join(a: ValueId, b: ValueId): void;
}

function createGroups(): Groups {
  const up = new Map<ValueId, ValueId>();
  const of = (id: ValueId): ValueId => {
    let at = id;
    for (let next = up.get(at); next !== undefined; next = up.get(at)) at = next;
    return at;
  };
  const join = (a: ValueId, b: ValueId): void => {
    const [x, y] = [of(a), of(b)];
    if (x !== y) up.set(y, x);
  };
  return { of, join };
}

/** Follows results of layers through what only moves them, and joins what is then on one grid. */
function groupsOf(
  results: ReadonlySet<ValueId>,
  readers: ReadonlyMap<ValueId, number>,
  rules: MovingRules,
): Groups {
  const groups = createGroups();
  const carried = new Set(results);
  for (const node of rules.graph.nodes()) {
    const moved = movedOnIntegers(node, rules);
    if (moved === null) continue;
    const whole = moved.every((id) => carried.has(id));
    if (!whole && !closes(node, readers, rules)) continue;
    for (const out of node.outputs) {
      if (out === null) continue;
      carried.add(out);
      for (const id of moved) if (carried.has(id)) groups.join(id, out);
    }
  }
  return groups;
}

/** A value with one scale over all channels, as statistics of a single channel. */
function pooled(v: ValueStatistics): ValueStatistics {
  const { channels } = v;
  const calls = v.min.length / channels;
  const over = (values: Float64Array, join: (a: number, b: number) => number): Float64Array =>
    Float64Array.from({ length: calls }, (_, t) =>
      values.subarray(t * channels, (t + 1) * channels).reduce((a, b) => join(a, b)),
    );
  const mean = (values: Float64Array): Float64Array => over(values, (a, b) => a + b).map((x) => x / channels);
  return {
    ...v,
    channels: 1,
    rows: v.rows * channels,
    count: v.count * channels,
    min: over(v.min, Math.min),
    max: over(v.max, Math.max),
    mean: mean(v.mean),
    square: mean(v.square),
  };
}

/** What {@link onOneGrid} looks at. */
export interface OneGrid {
  readonly rules: MovingRules;
  readonly settings: GridSettings;
  readonly statistics: Statistics;
  /** Whether what leaves a layer is its quantized result itself, with nothing added or multiplied behind it. */
  readonly direct: (plan: SitePlan, layer: LayerPlan) => boolean;
}

/**
 * Gives results of layers and the activations they become by being moved one grid over the union of their ranges, so that
 * Concat, Reshape, Transpose and the like pass integers on as they are. Sites with scales per channel and those without
 * their first token keep their own.
 */
export function onOneGrid(plans: readonly SitePlan[], o: OneGrid): SitePlan[] {
  const { rules, settings, statistics, direct } = o;
  const { graph } = rules;
  const readers = new Map<ValueId, number>();
  const results = new Set<ValueId>();
  for (const p of plans) {
    const count = readers.get(p.site.value) ?? 0;
    readers.set(p.site.value, count + p.layers.length);
    for (const l of p.layers) if (direct(p, l)) results.add(l.layer.output);
  }
  const groups = groupsOf(results, readers, rules);
  const takes = (p: SitePlan): boolean => !p.site.rest && p.input.scale.length === 1;
  const members = new Map<ValueId, Set<ValueId>>();
  const add = (id: ValueId): void => {
    const list = members.get(groups.of(id)) ?? new Set();
    members.set(groups.of(id), list.add(id));
  };
  for (const id of results) add(id);
  for (const p of plans) if (takes(p)) add(p.site.value);
  const grids = new Map<ValueId, Quantizer>();
  for (const [group, list] of members) {
    if (list.size < 2) continue;
    const found = [...list].map((id) => statistics.value(graph.value(id).name));
    if (found.some((v) => v === undefined)) continue;
    const value = unionOf((found as ValueStatistics[]).map(pooled));
    const how = { statistics, value, importance: [1], granularity: "tensor", sources: null } as const;
    grids.set(group, quantizerOf(how, settings));
  }
  const gridOf = (id: ValueId): Quantizer | undefined => grids.get(groups.of(id));
  return plans.map((p) => {
    const own = takes(p) ? gridOf(p.site.value) : undefined;
    const input = own === undefined ? p.input : { ...own, mean: p.input.mean };
    const layers = p.layers.map((l) => {
      const grid = results.has(l.layer.output) ? gridOf(l.layer.output) : undefined;
      return grid === undefined ? l : { ...l, output: grid };
    });
    return { ...p, input, layers };
  });
}
