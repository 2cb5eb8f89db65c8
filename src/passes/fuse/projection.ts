import { DTYPES, type DType, elementCount } from "../../ir/dtype.ts";
import { attrInt, type Graph, intAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { constantOf, type MatchScope } from "../../ir/pattern/constant.ts";
import { f32Tensor, type Tensor } from "../../ir/tensor.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { concatTensors } from "../../runtime/kernels/concat.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";

/** A constant of a product, which may be stored in a narrower type than it is read in. */
interface Part {
  /** As a matrix with one row or column per output. */
  readonly tensor: Tensor;
  /** Axis of the matrix the outputs lie along. */
  readonly axis: number;
  /** Axes it is stored with; the first one counts outputs where `axis` is 0. */
  readonly dims: readonly number[];
  /** Type the product reads. */
  readonly dtype: DType;
}

/** A linear layer whose outputs are columns of one product: MatMul or MatMulNBits, with or without a constant bias. */
export interface Projection {
  readonly x: ValueId;
  readonly product: Node;
  /** Number of outputs. */
  readonly width: number;
  /** One number per output; `null` where nothing is added. */
  readonly bias: Tensor | null;
  /** Constants of the product by input. */
  readonly parts: ReadonlyMap<number, Part>;
}

const PACKED = "MatMulNBits";

const readOnce = (graph: Graph, value: ValueId): boolean =>
  graph.users(value).length === 1 && !graph.isOutput(value);

/** Bias of an Add with a vector along the last axis, and the other operand. */
function unbiased(scope: MatchScope, value: ValueId): { bias: Tensor | null; from: ValueId } | string {
  const { graph } = scope;
  const add = graph.producer(value);
  if (add?.op !== "Add" || add.domain !== "") return { bias: null, from: value };
  const width = scope.shapes?.shape(value)?.at(-1);
  for (const side of [0, 1]) {
    const [bias, other] = [constantOf(scope, add.inputs[side]), add.inputs[1 - side]];
    if (bias === null || other === null || other === undefined) continue;
    if (typeof width !== "number" || elementCount(bias.dims) !== width || bias.dims.at(-1) !== width)
      return "what is added behind it is not one number per output";
    if (!readOnce(graph, other)) return "its product is read elsewhere";
    return { bias: reshapeTensor(bias.tensor, [width]), from: other };
  }
  return "what is added behind it is computed";
}

/** Weights of a MatMulNBits: packed rows, scales and zero points, each by output first. */
function packedParts(scope: MatchScope, node: Node, width: number): Projection["parts"] | string {
  const parts = new Map<number, Part>();
  for (const [i, id] of node.inputs.entries()) {
    if (i === 0 || id === null) continue;
    if (i > 3) return "its packed product has a bias or an order of columns";
    const found = constantOf(scope, id);
    if (found === null) return "its packed weight is computed";
    const count = elementCount(found.dims);
    if (width < 1 || count % width !== 0) return "its packed weight is not stored by output";
    const tensor = reshapeTensor(found.tensor, [width, count / width]);
    parts.set(i, { tensor, axis: 0, dims: found.dims, dtype: found.dtype });
  }
  return parts;
}

/** The linear layer that alone makes a value and whose result nothing else reads, or why there is none. */
export function projectionOf(scope: MatchScope, value: ValueId): Projection | string {
  const { graph } = scope;
  if (!readOnce(graph, value)) return "its result is read elsewhere";
  const found = unbiased(scope, value);
  if (typeof found === "string") return found;
  const product = graph.producer(found.from);
  if (product === undefined) return "no layer makes it";
  const packed = product.op === PACKED && product.domain === "com.microsoft";
  if (!packed && (product.op !== "MatMul" || product.domain !== ""))
    return `it is made by ${product.op}, not by a product`;
  const [x, w] = product.inputs as readonly [ValueId, ValueId];
  if (packed) {
    const width = attrInt(product, "N") ?? 0;
    const parts = packedParts(scope, product, width);
    return typeof parts === "string" ? parts : { x, product, width, bias: found.bias, parts };
  }
  const weight = constantOf(scope, w);
  if (weight === null) return "its weight is computed, as one that is quantized or an activation is";
  const [length, width] = weight.dims;
  if (weight.dims.length !== 2 || length === undefined || width === undefined)
    return "its weight is no matrix";
  const tensor = reshapeTensor(weight.tensor, [length, width]);
  const part: Part = { tensor, axis: 1, dims: weight.dims, dtype: weight.dtype };
  return { x, product, width, bias: found.bias, parts: new Map([[1, part]]) };
}

/** Why projections cannot be columns of one product; `null` when they can. */
export function mergeProblem(projections: readonly Projection[]): string | null {
  const [first, ...rest] = projections;
  const form = (p: Projection): string => {
    const attrs = [...p.product.attrs].map(([k, a]) => [k, "value" in a ? String(a.value) : a.kind]);
    const parts = [...p.parts].map(([i, { tensor, dims, dtype }]) => [i, tensor.dtype, dims, dtype]);
    return JSON.stringify([p.product.op, p.width, attrs.sort(), parts]);
  };
  if (first === undefined || rest.some((p) => p.x !== first.x)) return "they read different values";
  return rest.every((p) => form(p) === form(first))
    ? null
    : "they differ in width, in format or in how their weights are stored";
}

/** Tensors side by side along `axis`, head by head: the first head of each, then the second of each, … */
function interleave(tensors: readonly Tensor[], axis: number, heads: number): Tensor {
  const [first] = tensors;
  const dims = first!.dims;
  const [before, length, after] = [dims.slice(0, axis), dims[axis]!, dims.slice(axis + 1)];
  const apart = tensors.map((t) => reshapeTensor(t, [...before, heads, 1, length / heads, ...after]));
  const joined = concatTensors(apart, axis + 1);
  return reshapeTensor(joined, [...before, length * tensors.length, ...after]);
}

/**
 * One product for projections that {@link mergeProblem} has nothing against, with columns in the order heads,
 * projections, channels of a head, and their biases behind it. Names derive from `name`.
 */
export function mergedProduct(
  patch: PatchBuilder,
  projections: readonly Projection[],
  o: { readonly heads: number; readonly name: string; readonly dtype: Tensor["dtype"] },
): ValueId {
  const { product, width, parts, x } = projections[0]!;
  const inputs = product.inputs.map((id, i) => {
    const part = parts.get(i);
    if (part === undefined) return i === 0 ? x : id;
    const tensors = projections.map((p) => p.parts.get(i)!.tensor);
    const merged = interleave(tensors, part.axis, o.heads);
    const dims = part.dims.map((d, axis) => (axis === part.axis ? d * projections.length : d));
    const name = `${o.name}.${i === 1 ? "weight" : i}`;
    const stored = patch.constant(reshapeTensor(merged, dims), name);
    if (merged.dtype === part.dtype) return stored;
    const attrs = { to: intAttr(DTYPES[part.dtype].onnx) };
    return patch.node({ op: "Cast", name: `${name}/wide`, inputs: [stored], attrs })[0];
  });
  const attrs = Object.fromEntries(product.attrs);
  const [y] = patch.node({
    op: product.op,
    domain: product.domain,
    name: o.name,
    inputs,
    attrs: product.op === PACKED ? { ...attrs, N: intAttr(width * projections.length) } : attrs,
  });
  if (projections.every((p) => p.bias === null)) return y;
  const biases = projections.map((p) => castTensor(p.bias ?? f32Tensor(new Float32Array(width)), o.dtype));
  const bias = patch.constant(interleave(biases, 0, o.heads), `${o.name}.bias`);
  return patch.node({ op: "Add", name: `${o.name}/Add`, inputs: [y, bias] })[0];
}
