import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { opSpec } from "../ops/index.ts";
import type { WeightRole } from "../ops/spec.ts";
import { constantOf } from "../pattern/index.ts";
import type { Tensor } from "../tensor.ts";
import type { Flow } from "./flow.ts";

/** A linear-like node before its kind is known. */
export interface Linear {
  readonly node: Node;
  readonly role: WeightRole;
  readonly weight: ValueId;
  readonly tensor: Tensor | null;
  readonly bias: ValueId | null;
  readonly biasNode: Node | null;
  readonly input: ValueId;
  readonly output: ValueId;
  /** Spatial axes of the kernel; empty for matrix products. */
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  /** Convolution that enlarges its input. */
  readonly transposed: boolean;
}

/** Ops between a stored weight and its use that leave it a constant. */
const WEIGHT_STEPS = new Set([
  "Identity",
  "Cast",
  "Transpose",
  "Reshape",
  "Squeeze",
  "Unsqueeze",
  "DequantizeLinear",
]);

/** True when a value is made from stored tensors alone, through the ops that weights pass. */
function isWeight(flow: Flow, value: ValueId): boolean {
  let at = value;
  for (let hop = 0; hop < 8; hop++) {
    if (constantOf(flow.scope, at) !== null) return true;
    const node = flow.graph.producer(at);
    const from = node?.inputs[0];
    if (node === undefined || from === null || from === undefined || !WEIGHT_STEPS.has(node.op)) return false;
    at = from;
  }
  return false;
}

function ints(node: Node, name: string): readonly number[] {
  const a = node.attrs.get(name);
  return a?.kind === "ints" ? a.value.map(Number) : [];
}

/** The Add of a constant vector along the output channels that is the only use of a product without bias. */
function biasAfter(flow: Flow, output: ValueId): { node: Node; bias: ValueId; output: ValueId } | null {
  const users = flow.users(output);
  const node = users[0];
  if (users.length !== 1 || node === undefined || opKey(node) !== "Add" || flow.graph.isOutput(output))
    return null;
  const bias = node.inputs[node.inputs[0] === output ? 1 : 0];
  const out = node.outputs[0];
  const c = constantOf(flow.scope, bias);
  if (c === null || bias === null || bias === undefined || out === null || out === undefined) return null;
  // A vector: positional tables added to a projection vary along more axes.
  return c.dims.filter((d) => d !== 1).length <= 1 ? { node, bias, output: out } : null;
}

/** Every linear-like node with a constant weight, in topological order. */
export function findLinears(flow: Flow): Linear[] {
  const out: Linear[] = [];
  const { graph, scope } = flow;
  for (const node of graph.nodes()) {
    const spec = opSpec(node.domain, node.op);
    if (spec?.weight === undefined) continue;
    const rank = (i: number): number | null => {
      const v = node.inputs[i];
      if (v === null || v === undefined) return null;
      return constantOf(scope, v)?.dims.length ?? flow.rank(v);
    };
    const role = spec.weight(node, rank);
    if (role === null) continue;
    const [weight, input, output] = [node.inputs[role.input], node.inputs[role.activation], node.outputs[0]];
    if (weight === null || weight === undefined || input === null || input === undefined) continue;
    if (output === null || output === undefined || !isWeight(flow, weight)) continue;
    if (flow.isConstant(input)) continue;
    const own = role.bias === null ? null : (node.inputs[role.bias] ?? null);
    const after = own === null ? biasAfter(flow, output) : null;
    const weightRank = rank(role.input) ?? 2;
    out.push({
      node,
      role,
      weight,
      tensor: constantOf(scope, weight)?.tensor ?? null,
      bias: own ?? after?.bias ?? null,
      biasNode: after?.node ?? null,
      input,
      output: after?.output ?? output,
      kernel: kernelOf(flow, node, weight, weightRank, role),
      strides: ints(node, "strides"),
      transposed: role.outAxis === 1 && weightRank > 2,
    });
  }
  return out;
}

function kernelOf(
  flow: Flow,
  node: Node,
  weight: ValueId,
  rank: number,
  role: WeightRole,
): readonly number[] {
  const given = ints(node, "kernel_shape");
  if (given.length > 0 || rank < 3) return given;
  const dims = constantOf(flow.scope, weight)?.dims ?? flow.scope.shapes?.staticShape(weight) ?? [];
  return dims.filter((_, i) => i !== role.outAxis && i !== role.inAxis);
}

/** Layers found by the nodes and values around them. */
export class Linears {
  readonly list: readonly Linear[];
  readonly #byNode = new Map<NodeId, Linear>();
  readonly #byOutput = new Map<ValueId, Linear>();
  readonly #byInput = new Map<ValueId, Linear[]>();

  constructor(list: readonly Linear[]) {
    this.list = list;
    for (const l of list) {
      this.#byNode.set(l.node.id, l);
      if (l.biasNode !== null) this.#byNode.set(l.biasNode.id, l);
      this.#byOutput.set(l.output, l);
      const users = this.#byInput.get(l.input);
      if (users === undefined) this.#byInput.set(l.input, [l]);
      else users.push(l);
    }
  }

  /** The layer of a node or of its bias. */
  of(node: NodeId): Linear | undefined {
    return this.#byNode.get(node);
  }
  /** The layer whose result, bias included, is the value. */
  making(value: ValueId): Linear | undefined {
    return this.#byOutput.get(value);
  }
  reading(value: ValueId): readonly Linear[] {
    return this.#byInput.get(value) ?? [];
  }
}
