import { elementCount } from "../../ir/dtype.ts";
import { type Graph, type Model, type Node, type NodeId, nodeReads, type ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { ConstRef, MatchScope } from "../../ir/pattern/constant.ts";
import type { Outcome } from "../../ir/pattern/match.ts";
import { f32Tensor, type Tensor } from "../../ir/tensor.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import type { PassContext } from "../pass.ts";

/** What every recognised spelling says about itself. */
export interface Fusable {
  readonly nodes: readonly NodeId[];
  readonly escapes: readonly ValueId[];
  readonly output: ValueId;
}

/** Nodes some graph output depends on. What an earlier fusion left behind unread must not be fused again. */
function liveNodes(graph: Graph): Set<NodeId> {
  const live = new Set<NodeId>();
  const read = new Set<ValueId>(graph.outputs);
  for (const node of [...graph.nodes()].reverse()) {
    if (!node.outputs.some((o) => o !== null && read.has(o))) continue;
    live.add(node.id);
    for (const r of nodeReads(node)) read.add(r);
  }
  return live;
}

/**
 * Replaces every match by what `emit` builds, in one patch. `emit` returns the value that takes the place of the
 * output, or why it left the match alone. A match whose inner values are read elsewhere is left alone too: the old
 * nodes would have to stay beside the fused one. The old nodes stay, unread, for `remove-dead`: shape computations
 * that nothing needs any more may still hang on them. Returns the number of fusions.
 */
export function fuseMatches<M extends Fusable>(
  graph: Graph,
  ctx: PassContext,
  label: string,
  find: (scope: MatchScope, node: Node) => Outcome<M> | null,
  emit: (patch: PatchBuilder, match: M, node: Node, scope: MatchScope) => ValueId | { readonly why: string },
): number {
  const scope: MatchScope = { graph, shapes: ctx.shapes() };
  const patch = new PatchBuilder(graph, label);
  const taken = new Set<NodeId>();
  const live = liveNodes(graph);
  let count = 0;
  // Last nodes first: the longest spelling of a pattern ends latest and must win over its own beginning.
  for (const node of [...graph.nodes()].reverse()) {
    if (taken.has(node.id) || !live.has(node.id)) continue;
    const found = find(scope, node);
    if (found === null || !found.ok) continue;
    const match = found.value;
    if (match.nodes.some((id) => taken.has(id))) continue;
    const skip = (why: string): void => ctx.decide({ node: node.name, kind: "skipped", rule: label, why });
    if (match.escapes.length > 0) {
      const names = match.escapes.map((id) => graph.value(id).name).join(", ");
      skip(`values inside the pattern are read elsewhere: ${names}`);
      continue;
    }
    const made = emit(patch, match, node, scope);
    if (typeof made === "object") {
      skip(made.why);
      continue;
    }
    patch.redirect(match.output, made);
    for (const id of match.nodes) taken.add(id);
    count++;
  }
  patch.apply();
  if (count > 0) ctx.decide({ node: "", kind: "applied", rule: label, count });
  return count;
}

/** Makes sure the model imports onnxruntime's own operator set. */
export function importContrib(model: Model): void {
  if (!model.opsets.has("com.microsoft")) model.opsets = new Map([...model.opsets, ["com.microsoft", 1]]);
}

/** A per-channel constant as a vector of `length` in the element type of the data; ones where there is none. */
export function parameterVector(
  c: ConstRef | null,
  length: number,
  dtype: Tensor["dtype"],
  fill: number,
): Tensor {
  if (c === null) return castTensor(f32Tensor(new Float32Array(length).fill(fill)), dtype);
  const count = elementCount(c.tensor.dims);
  const flat = count === length ? c.tensor : null;
  if (flat === null) throw new Error(`a parameter of ${count} elements where ${length} were matched`);
  return castTensor(reshapeTensor(flat, [length]), dtype);
}
