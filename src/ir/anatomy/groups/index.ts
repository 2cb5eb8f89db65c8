import type { Graph, Model, NodeId, ValueId } from "../../graph.ts";
import type { InferredShapes } from "../../infer.ts";
import { weightRole } from "../../ops/index.ts";
import { type Elements, elementsOf } from "./elements.ts";
import { type Followed, followAxes } from "./follow.ts";
import { type Axes, type Axis, axisLength } from "./ledger.ts";
import type { ConstantUse, Fix } from "./site.ts";

export { type Axes, type Axis, axisLength, type Factor } from "./ledger.ts";
export type { ConstantUse, Fix } from "./site.ts";

/**
 * What a group is made of. `heads`: of an attention; `ffn`: neurons between two linear layers; `inner`: channels between
 * two convolutions; `stage`: a stream that several layers make or read; `embedding`: neurons of a perceptron on one
 * vector per sample, such as the time embedding.
 */
export type GroupKind = "heads" | "ffn" | "inner" | "stage" | "embedding";

/** A layer that sums over elements of a group. */
export interface Consumer {
  readonly node: NodeId;
  /** Input of the weight. */
  readonly input: number;
  /** Axis of the weight that is summed over. */
  readonly axis: number;
  /** Input channels of each unit, ascending. */
  readonly columns: readonly Int32Array[];
}

/** A constant with elements of a group on an axis that is not summed over. */
export interface Producer {
  readonly node: NodeId;
  readonly input: number;
  readonly axis: number;
  readonly rows: readonly Int32Array[];
  /** True for weights of layers, false for biases and parameters of norms. */
  readonly weight: boolean;
}

/** Elements that can be removed together, one unit at a time. */
export interface PruneGroup {
  /** Name of the first layer that makes or reads the elements. */
  readonly name: string;
  readonly kind: GroupKind;
  /** Element sets, the currency of {@link Removal}. */
  readonly units: readonly number[];
  /** Elements of one unit on the widest axis of a weight that has them, for alignment. */
  readonly width: number;
  readonly producers: readonly Producer[];
  readonly consumers: readonly Consumer[];
  /** `null` when removing is the same as masking; else the operator whose statistics change. */
  readonly mixed: string | null;
}

/** Elements of a layer's outputs that cannot be removed. */
export interface Refusal {
  readonly name: string;
  readonly elements: number;
  readonly why: string;
}

/** What of a graph can be pruned. */
export interface PruneAnalysis {
  readonly groups: readonly PruneGroup[];
  readonly refused: readonly Refusal[];
  readonly uses: readonly ConstantUse[];
  readonly fixes: ReadonlyMap<NodeId, readonly Fix[]>;
  readonly work: ReadonlyMap<NodeId, Axes>;
  readonly values: ReadonlyMap<ValueId, Axes>;
  /** Units that each index of an axis belongs to; `null` for open lengths. */
  unitsOf(axis: Axis): Int32Array | null;
}

/** Sets of an axis's elements: index i stays as long as none of its factors' elements goes. */
function digits(e: Elements, axis: Axis): Int32Array[] | null {
  const n = axisLength(axis);
  if (n === null) return null;
  let inner = n;
  return axis.map((f) => {
    const length = f.length as number;
    inner /= length;
    const start = e.start(f);
    const out = new Int32Array(n);
    for (let i = 0; i < n; i++) out[i] = e.root(start + (Math.floor(i / inner) % length));
    return out;
  });
}

/** The one set an index hangs on: that of the factor whose elements can go, else the first. */
function unitsOf(e: Elements, axis: Axis): Int32Array | null {
  const all = digits(e, axis);
  if (all === null) return null;
  const [first, ...more] = all;
  if (first === undefined) return new Int32Array(0);
  for (const [i, u] of first.entries())
    if (e.frozen.has(u)) first[i] = more.find((m) => !e.frozen.has(m[i]!))?.[i] ?? u;
  return first;
}

interface Draft {
  readonly units: number[];
  readonly index: Map<number, number>;
  /** Holdings of every unit, in order. */
  readonly held: readonly number[];
}

/** One axis of a constant whose elements belong to units. */
interface Holding {
  readonly use: ConstantUse;
  readonly axis: number;
  readonly units: Int32Array;
}

/** Units with the same holdings make a group; the signature lists the axes that hold them. */
function draftGroups(holdings: readonly Holding[], e: Elements): Draft[] {
  const where = new Map<number, number[]>();
  for (const [h, { units }] of holdings.entries())
    for (const u of units) {
      const list = where.get(u);
      if (list !== undefined) {
        if (list.at(-1) !== h) list.push(h);
      } else if (!e.frozen.has(u)) where.set(u, [h]);
    }
  const bySignature = new Map<string, Draft>();
  for (const [unit, list] of [...where].sort((a, b) => a[0] - b[0])) {
    const key = list.join();
    const draft: Draft = bySignature.get(key) ?? { units: [], index: new Map(), held: list };
    draft.index.set(unit, draft.units.length);
    draft.units.push(unit);
    bySignature.set(key, draft);
  }
  return [...bySignature.values()];
}

/** Indices of each unit on an axis, made when first asked for: planning needs their numbers only. */
function indices(h: Holding, d: Draft): () => readonly Int32Array[] {
  let made: readonly Int32Array[] | null = null;
  return () => {
    if (made !== null) return made;
    const lists: number[][] = d.units.map(() => []);
    for (const [i, u] of h.units.entries()) {
      const k = d.index.get(u);
      if (k !== undefined) lists[k]!.push(i);
    }
    made = lists.map((l) => Int32Array.from(l));
    return made;
  };
}

function finish(graph: Graph, d: Draft, held: readonly Holding[], at: Context): PruneGroup | null {
  const producers: Producer[] = [];
  const consumers: Consumer[] = [];
  let width = 0;
  for (const h of held) {
    const node = graph.node(h.use.node);
    const role = weightRole(graph, at.shapes, node);
    const weight = role?.input === h.use.input;
    const place = { node: node.id, input: h.use.input, axis: h.axis };
    const list = indices(h, d);
    if (weight && h.axis === role.inAxis && role.groups === 1) {
      width = Math.max(
        width,
        h.units.reduce((n, u) => n + (u === d.units[0] ? 1 : 0), 0),
      );
      consumers.push({
        ...place,
        get columns() {
          return list();
        },
      });
    } else
      producers.push({
        ...place,
        get rows() {
          return list();
        },
        weight,
      });
  }
  const [reader] = consumers;
  const maker = producers.find((p) => p.weight);
  if (reader === undefined || maker === undefined) return null;
  const mixed = at.elements.mixed.get(d.units[0]!) ?? null;
  const heads = d.units.some((u) => at.heads.has(u));
  const linear = (id: NodeId): boolean => !graph.node(id).op.startsWith("Conv");
  const convolutions = producers.filter((p) => p.weight && !linear(p.node)).length;
  const single = consumers.length === 1 && convolutions <= 1 && mixed === null;
  const vector = consumers.every((c) => {
    const role = weightRole(graph, at.shapes, graph.node(c.node))!;
    return (at.shapes.shape(graph.node(c.node).inputs[role.activation]!)?.length ?? 0) <= 2;
  });
  let kind: GroupKind = linear(reader.node) ? "ffn" : "inner";
  if (heads) kind = "heads";
  else if (vector) kind = "embedding";
  else if (!single) kind = "stage";
  return {
    name: graph.node(maker.node).name,
    kind,
    units: d.units,
    width,
    producers,
    consumers,
    mixed,
  };
}

interface Context {
  readonly shapes: InferredShapes;
  readonly elements: Elements;
  readonly heads: ReadonlySet<number>;
}

/** Layers whose output channels all stay, with the reason of the first. */
function refusals(graph: Graph, holdings: readonly Holding[], at: Context): Refusal[] {
  const out: Refusal[] = [];
  for (const { use, axis, units } of holdings) {
    const node = graph.node(use.node);
    const role = weightRole(graph, at.shapes, node);
    if (role?.input !== use.input || axis !== role.outAxis) continue;
    if (!units.every((u) => at.elements.frozen.has(u))) continue;
    out.push({ name: node.name, elements: units.length, why: at.elements.frozen.get(units[0]!)! });
  }
  return out;
}

/**
 * Finds which channels, neurons and heads of a graph can be removed together: the rows that make them, the norm
 * parameters, biases and projections added to them, the columns that read them, and the numbers in Reshape, Split and
 * attributes that know how many there are. Works on any graph; operators without a rule keep their elements, and every
 * layer that cannot lose channels says why.
 */
export function pruneAnalysis(model: Model, shapes: InferredShapes): PruneAnalysis {
  const { graph } = model;
  const followed: Followed = followAxes(graph, shapes);
  const elements = elementsOf(followed.ledger);
  const heads = new Set<number>();
  for (const f of followed.ledger.heads)
    if (typeof f.length === "number")
      for (let i = 0; i < f.length; i++) heads.add(elements.root(elements.start(f) + i));
  const holdings = followed.uses.flatMap((use) =>
    use.axes.flatMap((a, axis): Holding[] => {
      const units = unitsOf(elements, a);
      return units === null || units.length === 0 ? [] : [{ use, axis, units }];
    }),
  );
  const at = { shapes, elements, heads };
  const groups = draftGroups(holdings, elements)
    .map((d) =>
      finish(
        graph,
        d,
        d.held.map((h) => holdings[h]!),
        at,
      ),
    )
    .filter((g) => g !== null);
  return {
    groups,
    refused: refusals(graph, holdings, at),
    uses: followed.uses,
    fixes: followed.fixes,
    work: followed.work,
    values: followed.values,
    unitsOf: (axis) => unitsOf(elements, axis),
  };
}
