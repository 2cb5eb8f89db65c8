import type { Dense } from "../ir/evaluator.ts";
import {
  Graph,
  type IdSource,
  type Model,
  type Node,
  type NodeId,
  type Value,
  type ValueId,
} from "../ir/graph.ts";
import { tensorType } from "../ir/types.ts";

/** A weight that can be exchanged from run to run. */
export interface Switch {
  /** The float value that layers read: a constant, or computed from constants alone. */
  readonly value: ValueId;
  /** What is fed unless a setting says otherwise. */
  readonly weight: Dense;
}

/** A layer whose input can be rounded to 8 bits from run to run, as operators round that measure its range themselves. */
export interface RoundingSwitch {
  readonly node: NodeId;
  /** Which of the layer's inputs; a float32 value. */
  readonly input: number;
}

/** A model whose switches are graph inputs. */
export interface SwitchboardModel {
  readonly model: Model;
  /** Names of the inputs that take weights, in the order of the switches. */
  readonly names: readonly string[];
  /** Names of the boolean inputs that say which inputs are rounded, in the order of the roundings. */
  readonly roundings: readonly string[];
}

function inputName(taken: ReadonlySet<string>, base: string): string {
  let name = base;
  while (taken.has(name)) name += "'";
  return name;
}

/** Nodes between a value and one layer that reads it: rounded when `flag` says so. */
function rounding(
  ids: IdSource,
  value: ValueId,
  flag: Value,
): { readonly nodes: readonly Node[]; readonly values: readonly Value[]; readonly out: ValueId } {
  const nodes: Node[] = [];
  const values: Value[] = [];
  const add = (op: string, inputs: readonly ValueId[], count = 1): [ValueId, ...ValueId[]] => {
    const id = ids.node();
    const name = `${flag.name}/${op}`;
    const outputs = Array.from({ length: count }, (_, i) => {
      const out = ids.value();
      values.push({ id: out, name: `${name}_${i}`, type: null, producer: id, init: null });
      return out;
    });
    nodes.push({ id, name, domain: "", op, overload: "", inputs, outputs, attrs: new Map() });
    return outputs as [ValueId, ...ValueId[]];
  };
  const [q, scale, zero] = add("DynamicQuantizeLinear", [value], 3) as [ValueId, ValueId, ValueId];
  const [near] = add("DequantizeLinear", [q, scale, zero]);
  // A choice, not a blend: a blend would double the arithmetic and let 0 · NaN through.
  const [out] = add("Where", [flag.id, near, value]);
  return { nodes, values, out };
}

/**
 * The model with weights as graph inputs, every reader of a switch reading its input instead, and a boolean input for
 * each rounding. The given model is not touched.
 */
export function switchboardModel(
  model: Model,
  switches: readonly Switch[],
  roundings: readonly RoundingSwitch[] = [],
): SwitchboardModel {
  const { graph } = model;
  const ids = graph.ids.fork();
  const taken = new Set([...graph.values()].map((v) => v.name));
  const inputs: Value[] = [];
  const to = new Map<ValueId, ValueId>();
  for (const { value, weight } of switches) {
    const id = ids.value();
    to.set(value, id);
    const type = tensorType(weight.dtype, weight.dims);
    inputs.push({ id, name: inputName(taken, `switch_${value}`), type, producer: null, init: null });
  }
  const flags = new Map<NodeId, { readonly flag: Value; readonly input: number }>();
  for (const { node, input } of roundings) {
    const name = inputName(taken, `round_${node}`);
    const flag = { id: ids.value(), name, type: tensorType("bool", []), producer: null, init: null };
    flags.set(node, { flag, input });
  }
  const nodes: Node[] = [];
  const made: Value[] = [];
  for (const n of graph.nodes()) {
    const reads = n.inputs.map((i) => (i === null ? null : (to.get(i) ?? i)));
    const round = flags.get(n.id);
    const value = round === undefined ? null : (reads[round.input] ?? null);
    if (round !== undefined && value !== null) {
      const r = rounding(ids, value, round.flag);
      nodes.push(...r.nodes);
      made.push(...r.values);
      reads[round.input] = r.out;
    }
    nodes.push(reads.some((id, k) => id !== n.inputs[k]) ? { ...n, inputs: reads } : n);
  }
  const fresh = [...inputs, ...[...flags.values()].map((f) => f.flag)];
  const switched = new Graph({
    ids,
    name: graph.name,
    meta: graph.meta,
    nodes,
    values: [...[...graph.values()].filter((v) => !to.has(v.id) || v.producer !== null), ...made, ...fresh],
    inputs: [...graph.inputs, ...fresh.map((v) => v.id)],
    outputs: graph.outputs,
  });
  return {
    model: { ...model, graph: switched },
    names: inputs.map((v) => v.name),
    roundings: [...flags.values()].map((f) => f.flag.name),
  };
}
