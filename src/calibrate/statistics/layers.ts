import { attrInt, attrInts, attrString, type Graph, type Model, type Node } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { inferShapes } from "../../ir/infer.ts";
import { weightRole } from "../../ir/ops/index.ts";
import type { GramRequest, StatisticsRequest, Unfold, ValueRequest } from "./types.ts";

/** How much is asked of every layer. */
export interface LayerOptions {
  /** Also Grams of the inputs. */
  readonly gram?: boolean;
  /** Positions kept per call of every value; default 0. */
  readonly rows?: number;
}

/** A window of an image convolution as its patches see it; `null` when the padding depends on the size. */
function unfoldOf(node: Node, kernel: readonly number[]): Unfold | null {
  const pair = (name: string): readonly [number, number] => {
    const [a, b] = attrInts(node, name) ?? [1, 1];
    return [a ?? 1, b ?? 1];
  };
  const auto = attrString(node, "auto_pad") ?? "NOTSET";
  if (auto !== "NOTSET" && auto !== "VALID") return null;
  const [top = 0, left = 0, bottom = 0, right = 0] = auto === "VALID" ? [] : (attrInts(node, "pads") ?? []);
  return {
    kernel: [kernel[0]!, kernel[1]!],
    strides: pair("strides"),
    pads: [top, left, bottom, right],
    dilations: pair("dilations"),
  };
}

const isPointwise = (u: Unfold): boolean =>
  u.kernel.every((k) => k === 1) && u.strides.every((s) => s === 1) && u.pads.every((p) => p === 0);

/** The Gram of a layer's input; `null` for layers whose input is not one matrix: grouped, transposed or 1-D convolutions. */
function layerGram(graph: Graph, shapes: InferredShapes, node: Node): GramRequest | null {
  const role = weightRole(graph, shapes, node);
  if (role === null || role.groups !== 1) return null;
  const value = graph.value(node.inputs[role.activation]!).name;
  if (node.op === "MatMul" || node.op === "Gemm") {
    // The left matrix of a product with the weight on the left is the weight: its columns are summed instead.
    const flipped = attrInt(node, "transA") === 1;
    const axis = role.activation === 0 ? (flipped ? -2 : -1) : -2;
    return { layer: node.name, value, axis, unfold: null };
  }
  if (node.op !== "Conv") return null;
  const kernel = graph.constant(node.inputs[role.input])!.dims.slice(2);
  if (kernel.length !== 2) return null;
  const unfold = unfoldOf(node, kernel);
  if (unfold === null) return null;
  return { layer: node.name, value, axis: 1, unfold: isPointwise(unfold) ? null : unfold };
}

/** Channel axis of a layer's output. */
function outputAxis(node: Node): number {
  return node.op.includes("Conv") ? 1 : -1;
}

/** Statistics of the input and output of every layer with a weight, in topological order. */
export function layerRequest(model: Model, options: LayerOptions = {}): StatisticsRequest {
  const { graph } = model;
  const shapes = inferShapes(model);
  const values = new Map<string, ValueRequest>();
  const grams: GramRequest[] = [];
  const rows = options.rows ?? 0;
  for (const node of graph.nodes()) {
    const role = weightRole(graph, shapes, node);
    if (role === null) continue;
    const input = graph.value(node.inputs[role.activation]!);
    const gram = layerGram(graph, shapes, node);
    if (!values.has(input.name))
      values.set(input.name, { name: input.name, axis: gram?.axis ?? outputAxis(node), rows });
    const output = node.outputs[0];
    if (output !== null && output !== undefined) {
      const { name } = graph.value(output);
      if (!values.has(name)) values.set(name, { name, axis: outputAxis(node), rows });
    }
    if (options.gram === true && gram !== null) grams.push(gram);
  }
  return { values: [...values.values()], grams };
}
