import { numbersOf } from "../../../ir/constants.ts";
import type { Graph, Node, NodeId, ValueId } from "../../../ir/graph.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { quantizeDequantize, type TensorGrid } from "../../../targets/lower/qdq.ts";
import { type MovingRules, movedOnIntegers } from "./one-grid.ts";

/** Whether two grids are one: the same values, or constants of the same numbers and type. */
function isSame(graph: Graph, a: TensorGrid, b: TensorGrid): boolean {
  const same = (x: ValueId, y: ValueId): boolean => {
    if (x === y) return true;
    const [p, q] = [graph.constant(x), graph.constant(y)];
    const [m, n] = [numbersOf(p), numbersOf(q)];
    return m !== null && n !== null && p!.dtype === q!.dtype && m.join() === n.join();
  };
  return same(a.scale, b.scale) && same(a.zero, b.zero);
}

/** Scale and zero point of a conversion of an activation. */
const gridOf = (node: Node): TensorGrid => ({ scale: node.inputs[1]!, zero: node.inputs[2]! });

const isQuantize = (node: Node | undefined): boolean => node?.op === "QuantizeLinear";

/** The grid that everything which reads a value quantizes it to, or all but what may read it quantized; `null` for none. */
function askedFor(graph: Graph, id: ValueId, all: boolean): TensorGrid | null {
  const users = graph.users(id).map((u) => graph.node(u));
  const [first, ...others] = users.filter(isQuantize).map(gridOf);
  if (first === undefined || others.some((g) => !isSame(graph, first, g))) return null;
  return all && others.length + 1 < users.length ? null : first;
}

/** Nodes that move data on integers, each with its grid. */
function findMoves(rules: MovingRules): ReadonlyMap<Node, TensorGrid> {
  const { graph } = rules;
  const found = new Map<Node, TensorGrid>();
  const nodes = [...graph.nodes()];
  // Against the order: what is moved and then quantized may as well be quantized and then moved.
  const wanted = new Map<ValueId, TensorGrid>();
  for (const node of [...nodes].reverse()) {
    const moved = movedOnIntegers(node, rules);
    const [out] = node.outputs;
    if (moved === null || node.outputs.length !== 1 || out === null || out === undefined) continue;
    const open = node.op === "Concat" && rules.wide;
    const grid = wanted.get(out) ?? askedFor(graph, out, !open);
    if (grid === null) continue;
    found.set(node, grid);
    for (const id of moved) {
      const users = graph.users(id).map((u) => graph.node(u));
      const integers = users.every((u) => {
        const at = found.get(u) ?? (isQuantize(u) ? gridOf(u) : undefined);
        return at !== undefined && isSame(graph, at, grid);
      });
      if (integers) wanted.set(id, grid);
    }
  }
  // With the order: what comes from integers stays on them.
  const carried = new Map<ValueId, TensorGrid>();
  for (const node of nodes) {
    const [from] = node.inputs;
    if (node.op === "DequantizeLinear" && isQuantize(graph.producer(from!)))
      carried.set(node.outputs[0]!, gridOf(node));
    const moved = movedOnIntegers(node, rules);
    if (moved === null) continue;
    const grids = moved.map((id) => carried.get(id));
    const [first] = grids;
    const one = first !== undefined && grids.every((g) => g !== undefined && isSame(graph, first, g));
    const grid = found.get(node) ?? (one ? first : undefined);
    if (grid === undefined) continue;
    found.set(node, grid);
    for (const out of node.outputs) if (out !== null) carried.set(out, grid);
  }
  return found;
}

/**
 * Puts QuantizeLinear and DequantizeLinear of one grid in front of and behind nodes that only move data, so that they run
 * on integers: behind what is quantized already, and in front of what is quantized next. Neither changes a number, for a
 * value on a grid is on it again; with activations of 16 bits a Concat is also closed for readers in float, which then
 * see its quantized result.
 */
export function carryGrids(rules: MovingRules, domain: string): void {
  const { graph } = rules;
  const moves = findMoves(rules);
  const patch = new PatchBuilder(graph, "one-grid");
  const inputs = new Map<NodeId, (ValueId | null)[]>();
  const rewire = (node: Node, from: ValueId, to: ValueId): void => {
    const now = inputs.get(node.id) ?? [...node.inputs];
    inputs.set(
      node.id,
      now.map((id) => (id === from ? to : id)),
    );
  };
  const pair = (x: ValueId, id: ValueId, grid: TensorGrid): ValueId =>
    quantizeDequantize(patch, x, { grid, domain, name: `m${id}` });
  // Behind: readers get what a DequantizeLinear of the grid says.
  const behind = new Map<ValueId, TensorGrid & { readonly value: ValueId }>();
  for (const [node, grid] of moves)
    for (const out of node.outputs) {
      if (out === null) continue;
      const users = graph.users(out).map((u) => graph.node(u));
      const onGrid = (u: Node): boolean => isQuantize(u) && isSame(graph, gridOf(u), grid);
      const [known] = users.filter(onGrid).flatMap((u) => graph.users(u.outputs[0]!));
      const value = known === undefined ? pair(out, out, grid) : graph.node(known).outputs[0]!;
      behind.set(out, { ...grid, value });
      for (const u of users) if (!onGrid(u)) rewire(u, out, value);
    }
  // In front: what is not on the grid yet is brought there, once for all nodes that want it.
  const ahead = new Map<ValueId, (TensorGrid & { readonly value: ValueId })[]>();
  for (const [node, grid] of moves)
    for (const id of movedOnIntegers(node, rules)!) {
      const from = graph.producer(id);
      const here = from?.op === "DequantizeLinear" ? gridOf(from) : behind.get(id);
      if (here !== undefined && isSame(graph, here, grid)) continue;
      const read = behind.get(id)?.value ?? id;
      const list = ahead.get(id) ?? [];
      ahead.set(id, list);
      const known = list.find((a) => isSame(graph, a, grid))?.value;
      const value = known ?? pair(read, id, grid);
      if (known === undefined) list.push({ ...grid, value });
      rewire(node, read, value);
    }
  for (const [id, now] of inputs) patch.replace(graph.node(id), { inputs: now });
  patch.apply();
}
