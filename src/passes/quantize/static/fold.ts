import { elementCount } from "../../../ir/dtype.ts";
import type { Graph, Node, NodeId, ValueId } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor, type Tensor } from "../../../ir/tensor.ts";
import { affineTensor } from "../../../runtime/kernels/affine.ts";
import { castTensor } from "../../../runtime/kernels/cast.ts";
import type { Site } from "./sites.ts";

/** A place where x · factor can be made for free, and how. */
export interface Fold {
  readonly rule: "layer-norm" | "modulation";
  /** Patches the graph so that the site's value comes out multiplied by `factor`, one number per channel. */
  apply(patch: PatchBuilder, factor: ArrayLike<number>): void;
}

function onlyReadBy(graph: Graph, value: ValueId, readers: ReadonlySet<NodeId>): boolean {
  return !graph.isOutput(value) && graph.users(value).every((u) => readers.has(u));
}

function vectorConstant(graph: Graph, id: ValueId | null | undefined, n: number): Tensor | null {
  const t = graph.constant(id);
  return t !== null && elementCount(t.dims) === n && t.dims.length === 1 ? t : null;
}

function scaled(t: Tensor, factor: ArrayLike<number>): Tensor {
  return affineTensor(castTensor(t, "f32"), { axis: 0, scale: f32Tensor(factor) });
}

/** LayerNormalization with constant scale and offset: both are multiplied. */
function layerNorm(graph: Graph, node: Node, n: number): Fold | null {
  const gamma = vectorConstant(graph, node.inputs[1], n);
  const beta =
    node.inputs[2] === undefined || node.inputs[2] === null ? null : vectorConstant(graph, node.inputs[2], n);
  if (gamma === null || (node.inputs[2] != null && beta === null)) return null;
  return {
    rule: "layer-norm",
    apply(patch, factor) {
      const inputs = [node.inputs[0]!, patch.constant(scaled(gamma, factor), "n")];
      if (beta !== null) inputs.push(patch.constant(scaled(beta, factor), "n"));
      patch.replace(node, { inputs });
    },
  };
}

/** True for a value with one entry per sample and channel: its last dim is `n`, the others but the first are 1. */
function isPerSample(shapes: InferredShapes, id: ValueId, n: number): boolean {
  const shape = shapes.shape(id);
  if (shape === null || shape.length < 2 || shape.at(-1) !== n) return false;
  return shape.slice(1, -1).every((d) => d === 1) && shape.length > 2;
}

/** x · a + b with a and b per sample (adaptive norm): a and b are multiplied instead, two tiny products. */
function modulation(graph: Graph, shapes: InferredShapes, add: Node, n: number): Fold | null {
  const pick = (node: Node): { vector: number; other: number } | null => {
    const at = [0, 1].find((i) => isPerSample(shapes, node.inputs[i]!, n));
    return at === undefined ? null : { vector: at, other: 1 - at };
  };
  const outer = pick(add);
  const mul = outer === null ? undefined : graph.producer(add.inputs[outer.other]);
  if (outer === null || mul === undefined || mul.op !== "Mul" || mul.domain !== "") return null;
  const inner = pick(mul);
  if (inner === null || !onlyReadBy(graph, mul.outputs[0]!, new Set([add.id]))) return null;
  return {
    rule: "modulation",
    apply(patch, factor) {
      const f = patch.constant(f32Tensor(factor), "f");
      const times = (node: Node, at: number): (ValueId | null)[] => {
        const [product] = patch.node({ op: "Mul", name: `f${node.id}`, inputs: [node.inputs[at]!, f] });
        return node.inputs.map((id, i) => (i === at ? product : id));
      };
      patch.replace(mul, { inputs: times(mul, inner.vector) });
      patch.replace(add, { inputs: times(add, outer.vector) });
    },
  };
}

/** Where a factor per channel of a site's value can be hidden; `null` when it would cost a multiplication per element. */
export function findFold(graph: Graph, shapes: InferredShapes, site: Site): Fold | null {
  const readers = new Set(site.layers.map((l) => l.node.id));
  if (!onlyReadBy(graph, site.value, readers)) return null;
  const node = graph.producer(site.value);
  if (node === undefined || node.domain !== "") return null;
  if (node.op === "LayerNormalization") return layerNorm(graph, node, site.channels);
  if (node.op === "Add") return modulation(graph, shapes, node, site.channels);
  return null;
}
