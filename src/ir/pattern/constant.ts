import { numbersOf } from "../constants.ts";
import { DTYPES, type DType, elementCount } from "../dtype.ts";
import type { Graph, Node, ValueId } from "../graph.ts";
import type { InferredShapes } from "../infer.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../tensor.ts";
import type { Dim } from "../types.ts";

/** What a match may look at. Without inferred types only what the graph itself says is known. */
export interface MatchScope {
  readonly graph: Graph;
  readonly shapes: InferredShapes | null;
}

/** A constant as a node reads it: the stored tensor, and the type it has after the reshapes and casts on the way. */
export interface ConstRef {
  /** The value the matched node reads. */
  readonly value: ValueId;
  /** The stored tensor: element order is that of the value read. */
  readonly tensor: Tensor;
  readonly dims: readonly number[];
  readonly dtype: DType;
}

/** Longest chain of casts and reshapes followed from a use to the stored constant. */
const MAX_HOPS = 16;

/** The tensor a `Constant` node holds, in whichever attribute it is written; `null` for strings and sparse ones. */
export function constantNode(node: Node): Tensor | null {
  for (const [name, a] of node.attrs) {
    if (name === "value" && a.kind === "tensor") return a.value;
    if (name === "value_float" && a.kind === "float") return f32Tensor([a.value], []);
    if (name === "value_floats" && a.kind === "floats") return f32Tensor(a.value);
    if (name === "value_int" && a.kind === "int") return i64Tensor([a.value], []);
    if (name === "value_ints" && a.kind === "ints") return i64Tensor(a.value);
  }
  return null;
}

function axesOf(scope: MatchScope, node: Node): readonly number[] | null {
  const attr = intsAt(node, "axes");
  if (attr !== null) return attr;
  const id = node.inputs[1];
  return id === null || id === undefined ? null : intsOf(scope, id);
}

/** Dims after an op that keeps element order, or `null` when the op is not one of those. */
function redim(scope: MatchScope, node: Node, dims: readonly number[]): readonly number[] | null {
  switch (node.op) {
    case "Identity":
    case "Cast":
      return dims;
    case "Unsqueeze": {
      const axes = axesOf(scope, node);
      if (axes === null) return null;
      const rank = dims.length + axes.length;
      const at = new Set(axes.map((a) => (a < 0 ? a + rank : a)));
      const rest = dims.values();
      return Array.from({ length: rank }, (_, i) => (at.has(i) ? 1 : (rest.next().value ?? 1)));
    }
    case "Squeeze": {
      const axes = axesOf(scope, node)?.map((a) => (a < 0 ? a + dims.length : a));
      return dims.filter((d, i) => (axes === undefined ? d !== 1 : !axes.includes(i)));
    }
    case "Reshape":
    case "Flatten": {
      const out = node.outputs[0];
      return out === null || out === undefined ? null : (scope.shapes?.staticShape(out) ?? null);
    }
    default:
      return null;
  }
}

/**
 * The constant behind a value: an initializer or a `Constant` node, directly or through Identity, Cast, Unsqueeze,
 * Squeeze, Reshape (all keep element order). `null` when the value is computed.
 */
export function constantOf(scope: MatchScope, value: ValueId | null | undefined): ConstRef | null {
  if (value === null || value === undefined) return null;
  const chain: Node[] = [];
  let at: ValueId = value;
  for (let hop = 0; hop < MAX_HOPS; hop++) {
    const node = scope.graph.producer(at);
    const tensor =
      node === undefined
        ? scope.graph.constant(at)
        : node.op === "Constant" && node.domain === ""
          ? constantNode(node)
          : null;
    if (tensor !== null) {
      let dims: readonly number[] | null = tensor.dims;
      let dtype = tensor.dtype;
      for (const step of chain.reverse()) {
        dims = redim(scope, step, dims);
        if (dims === null) return null;
        if (step.op === "Cast") {
          const out = step.outputs[0];
          dtype = (out === null || out === undefined ? null : scope.shapes?.dtype(out)) ?? dtype;
        }
      }
      return { value, tensor, dims, dtype };
    }
    const next = node?.inputs[0];
    if (node === undefined || node.domain !== "" || next === null || next === undefined) return null;
    if (!KEEPS_ORDER.has(node.op)) return null;
    chain.push(node);
    at = next;
  }
  return null;
}

const KEEPS_ORDER = new Set(["Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"]);

/** Elements of a constant value as numbers; `null` when it is computed, stored in a file, or longer than `limit`. */
function numbersAt(scope: MatchScope, value: ValueId | null | undefined, limit = 4096): number[] | null {
  const c = constantOf(scope, value);
  return c === null ? null : numbersOf(c.tensor, limit);
}

/** Integer elements of a value: constant, or propagated by shape inference with every element known. */
function intsOf(scope: MatchScope, value: ValueId | null | undefined): readonly number[] | null {
  if (value === null || value === undefined) return null;
  const fixed = numbersAt(scope, value);
  if (fixed !== null) return fixed;
  const data = scope.shapes?.data(value) ?? null;
  return data?.every((d): d is number => typeof d === "number") ? data : null;
}

/** Like {@link intsOf}, with symbolic dims left in. */
export function dimsOf(scope: MatchScope, value: ValueId | null | undefined): readonly Dim[] | null {
  if (value === null || value === undefined) return null;
  return numbersAt(scope, value) ?? scope.shapes?.data(value) ?? null;
}

const ARITHMETIC: Readonly<Record<string, (x: number, y: number) => number>> = {
  Add: (x, y) => x + y,
  Sub: (x, y) => x - y,
  Mul: (x, y) => x * y,
  Div: (x, y) => x / y,
  Pow: (x, y) => x ** y,
  Sqrt: (x) => Math.sqrt(x),
  Reciprocal: (x) => 1 / x,
  Neg: (x) => -x,
  Identity: (x) => x,
  Cast: (x) => x,
};

/** Ops that move the one element of a tensor around. */
const KEEPS_ELEMENT = new Set(["Unsqueeze", "Squeeze", "Reshape", "Gather", "Slice", "Expand"]);

/**
 * The one number a value holds: a constant, an inferred shape element, or simple arithmetic over those. Exporters
 * compute attention scales this way (Shape, Slice, Cast, Sqrt, Div).
 */
export function scalarAt(scope: MatchScope, value: ValueId | null | undefined, depth = 12): number | null {
  if (value === null || value === undefined || depth === 0) return null;
  const fixed = constantOf(scope, value);
  if (fixed !== null)
    return elementCount(fixed.tensor.dims) === 1 ? (numbersOf(fixed.tensor)?.[0] ?? null) : null;
  const data = scope.shapes?.data(value);
  if (data?.length === 1 && typeof data[0] === "number") return data[0];
  const node = scope.graph.producer(value);
  if (node === undefined || node.domain !== "") return null;
  const x = (): number | null => scalarAt(scope, node.inputs[0], depth - 1);
  if (KEEPS_ELEMENT.has(node.op)) {
    const dims = scope.shapes?.staticShape(value);
    return dims !== null && dims !== undefined && elementCount(dims) === 1 ? x() : null;
  }
  const rule = ARITHMETIC[node.op];
  if (rule === undefined) return null;
  const a = x();
  const b = node.inputs.length < 2 ? 0 : scalarAt(scope, node.inputs[1], depth - 1);
  if (a === null || b === null) return null;
  const dtype = scope.shapes?.dtype(value) ?? null;
  const kind = dtype === null ? null : DTYPES[dtype].kind;
  return kind === "int" || kind === "uint" ? Math.trunc(rule(a, b)) : rule(a, b);
}

/** Numbers that float rounding of the stored type may turn into each other. */
const TOLERANCE: Partial<Record<DType, number>> = { f16: 2e-3, bf16: 8e-3 };

/** True when a stored scalar means `want`, allowing for the precision of its type (f32: five digits, as exporters write √2). */
export function meansScalar(dtype: DType, got: number, want: number): boolean {
  return Math.abs(got - want) <= Math.abs(want) * (TOLERANCE[dtype] ?? 2e-5);
}

/** Axes of a reduction (attribute before opset 18, input since), non-negative and ascending; `null` when unknown. */
export function reducedAxes(scope: MatchScope, node: Node): readonly number[] | null {
  const axes = axesOf(scope, node);
  const input = node.inputs[0];
  const rank = input === null || input === undefined ? null : (scope.shapes?.shape(input)?.length ?? null);
  if (axes === null) return null;
  const known = axes.map((a) => (a < 0 && rank !== null ? a + rank : a));
  return [...known].sort((a, b) => a - b);
}

/** Integer attribute with a default; an attribute of another kind reads as absent. */
export function intOr(node: Node, name: string, fallback: number): number {
  const a = node.attrs.get(name);
  return a?.kind === "int" ? Number(a.value) : fallback;
}

/** Float attribute with a default; an attribute of another kind reads as absent. */
export function floatOr(node: Node, name: string, fallback: number): number {
  const a = node.attrs.get(name);
  return a?.kind === "float" ? a.value : fallback;
}

/** Integer list attribute, or `null` when absent or of another kind. */
export function intsAt(node: Node, name: string): readonly number[] | null {
  const a = node.attrs.get(name);
  return a?.kind === "ints" ? a.value.map(Number) : null;
}

/** String attribute with a default; an attribute of another kind reads as absent. */
export function stringOr(node: Node, name: string, fallback: string): string {
  const a = node.attrs.get(name);
  return a?.kind === "string" ? new TextDecoder().decode(a.value) : fallback;
}
