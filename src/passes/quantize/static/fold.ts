import { attrInts, type Graph, type Node, type NodeId, type ValueId } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor, type Tensor } from "../../../ir/tensor.ts";
import { affineTensor } from "../../../runtime/kernels/affine.ts";
import { castTensor } from "../../../runtime/kernels/cast.ts";
import type { Site } from "./sites.ts";

/** A place where x · factor can be made for free, and how. */
export interface Fold {
  readonly rule: "layer-norm" | "group-norm" | "rms-norm" | "modulation" | "affine";
  /** Patches the graph so that the site's value comes out multiplied by `factor`, one number per channel. */
  apply(patch: PatchBuilder, factor: ArrayLike<number>): void;
}

/** A value and what is asked of it: to come out multiplied along an axis of `n` channels. */
interface Wish {
  readonly value: ValueId;
  readonly axis: number;
  readonly n: number;
  /** Whoever reads it knows of the factor. */
  readonly readers: ReadonlySet<NodeId>;
}

interface Place {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
}

/** Looks-through of a chain are bounded: what feeds a layer is near. */
const REACH = 8;

/** Normalisations with constant parameters of their own; the axis is that of the channels, -1 the last. */
const NORMS: Readonly<
  Record<
    string,
    { readonly rule: Fold["rule"]; readonly axis: 1 | -1; readonly parameters: readonly number[] }
  >
> = {
  LayerNormalization: { rule: "layer-norm", axis: -1, parameters: [1, 2] },
  RMSNormalization: { rule: "rms-norm", axis: -1, parameters: [1] },
  SimplifiedLayerNormalization: { rule: "rms-norm", axis: -1, parameters: [1] },
  GroupNormalization: { rule: "group-norm", axis: 1, parameters: [1, 2] },
};

function onlyReadBy(graph: Graph, value: ValueId, readers: ReadonlySet<NodeId>): boolean {
  return !graph.isOutput(value) && graph.users(value).every((u) => readers.has(u));
}

function scaled(t: Tensor, axis: number, factor: ArrayLike<number>): Tensor {
  return affineTensor(castTensor(t, "f32"), { axis, scale: f32Tensor(factor) });
}

/** A normalisation whose factor and offset are vectors: both are multiplied. */
function norm({ graph, shapes }: Place, node: Node, w: Wish): Fold | null {
  const row = NORMS[node.op];
  if (row === undefined) return null;
  const last = (shapes.shape(w.value)?.length ?? 0) - 1;
  if (w.axis !== (row.axis === 1 ? 1 : last)) return null;
  const given = row.parameters.filter((i) => node.inputs[i] != null);
  const vectors = given.map((i) => graph.constant(node.inputs[i]));
  if (given[0] !== 1 || !vectors.every((t) => t !== null && t.dims.length === 1 && t.dims[0] === w.n))
    return null;
  return {
    rule: row.rule,
    apply(patch, factor) {
      const inputs = [...node.inputs];
      for (const [k, i] of given.entries()) inputs[i] = patch.constant(scaled(vectors[k]!, 0, factor), "n");
      patch.replace(node, { inputs });
    },
  };
}

/** Axis of a constant that runs along axis `axis` of a value of rank `rank` and along nothing else; `null` for none. */
function alongAxis(t: Tensor, w: Wish, rank: number): number | null {
  const at = w.axis - (rank - t.dims.length);
  const fits = at >= 0 && t.dims.every((d, i) => d === (i === at ? w.n : 1));
  return fits ? at : null;
}

/** True for a value with one entry per sample and channel: its last dim is `n`, the others but the first are 1. */
function isPerSample(shapes: InferredShapes, id: ValueId, n: number): boolean {
  const shape = shapes.shape(id);
  if (shape === null || shape.length <= 2 || shape.at(-1) !== n) return false;
  return shape.slice(1, -1).every((d) => d === 1);
}

/** An operand with one number per channel, and the same multiplied. */
interface Operand {
  readonly at: number;
  readonly kind: "constant" | "per-sample";
  times(patch: PatchBuilder, node: Node, factor: ArrayLike<number>): ValueId;
}

function vectorOperand({ graph, shapes }: Place, node: Node, w: Wish): Operand | null {
  const rank = shapes.shape(w.value)?.length;
  if (rank === undefined) return null;
  for (const [at, id] of node.inputs.entries()) {
    if (id === null) continue;
    const t = graph.constant(id);
    const along = t === null ? null : alongAxis(t, w, rank);
    if (t !== null && along !== null)
      return {
        at,
        kind: "constant",
        times: (patch, _node, factor) => patch.constant(scaled(t, along, factor), "n"),
      };
    if (t === null && w.axis === rank - 1 && isPerSample(shapes, id, w.n))
      return {
        at,
        kind: "per-sample",
        times: (patch, of, factor) =>
          patch.node({
            op: "Mul",
            name: `f${of.id}`,
            inputs: [id, patch.constant(f32Tensor(factor), "f")],
          })[0],
      };
  }
  return null;
}

/** Inputs of a node with the vector operand multiplied. */
function replaced(patch: PatchBuilder, node: Node, o: Operand, factor: ArrayLike<number>): void {
  const product = o.times(patch, node, factor);
  patch.replace(node, { inputs: node.inputs.map((id, i) => (i === o.at ? product : id)) });
}

/** x · a: a is multiplied instead. x + b: b is, and x must fold too. An adaptive norm is both, per sample. */
function affine(p: Place, node: Node, w: Wish, reach: number): Fold | null {
  if (node.op !== "Mul" && node.op !== "Add") return null;
  const vector = vectorOperand(p, node, w);
  if (vector === null) return null;
  const rule = vector.kind === "constant" ? "affine" : "modulation";
  if (node.op === "Mul") return { rule, apply: (patch, factor) => replaced(patch, node, vector, factor) };
  const other = node.inputs[1 - vector.at];
  if (other == null) return null;
  const inner = foldAt(p, { ...w, value: other, readers: new Set([node.id]) }, reach - 1);
  if (inner === null) return null;
  return {
    rule: inner.rule,
    apply(patch, factor) {
      inner.apply(patch, factor);
      replaced(patch, node, vector, factor);
    },
  };
}

/** The axis of the operand that a node which only moves data lays along `axis` of its result; `null` where it mixes. */
function axisBefore({ shapes }: Place, node: Node, w: Wish): number | null {
  if (node.op === "Transpose") return attrInts(node, "perm")?.[w.axis] ?? null;
  if (node.op !== "Reshape") return null;
  const [before, after] = [shapes.shape(node.inputs[0]!), shapes.shape(w.value)];
  if (before === null || after === null) return null;
  if (w.axis === after.length - 1 && before.at(-1) === w.n) return before.length - 1;
  return w.axis === 1 && before[1] === w.n && before[0] === after[0] ? 1 : null;
}

function foldAt(p: Place, w: Wish, reach: number): Fold | null {
  if (reach === 0 || !onlyReadBy(p.graph, w.value, w.readers)) return null;
  const node = p.graph.producer(w.value);
  if (node === undefined || node.domain !== "" || node.outputs[0] !== w.value) return null;
  const axis = axisBefore(p, node, w);
  if (axis !== null)
    return foldAt(p, { ...w, axis, value: node.inputs[0]!, readers: new Set([node.id]) }, reach - 1);
  return norm(p, node, w) ?? affine(p, node, w, reach);
}

/**
 * Where a factor per channel of a site's value can be hidden: in the parameters of a norm, in a constant factor and
 * offset, or in a modulation per sample, also through transposes and reshapes that keep channels together. `null` when it
 * would cost a multiplication per element.
 */
export function findFold(graph: Graph, shapes: InferredShapes, site: Site): Fold | null {
  const readers = new Set(site.layers.map((l) => l.node.id));
  return foldAt({ graph, shapes }, { value: site.value, axis: site.axis, n: site.channels, readers }, REACH);
}
