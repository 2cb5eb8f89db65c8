import type { DType } from "../../ir/dtype.ts";
import { type Node, opKey, type ValueId } from "../../ir/graph.ts";
import { opSpec } from "../../ir/ops/index.ts";
import type { Limits } from "../limits.ts";
import type { CheckView } from "./view.ts";

/** Whether a node converts to integers, in either domain. */
export const isQuantize = (node: Node | undefined): boolean => node?.op === "QuantizeLinear";
/** Whether a node converts from integers, in either domain. */
export const isDequantize = (node: Node | undefined): boolean => node?.op === "DequantizeLinear";

/** Operators that are products with a weight. */
const PRODUCTS: readonly string[] = ["Conv", "ConvTranspose", "MatMul", "Gemm"];

/** The DequantizeLinear that feeds input `i`. */
export function dequantized(view: CheckView, node: Node, i: number): Node | null {
  const from = view.producer(node.inputs[i]);
  return from !== undefined && isDequantize(from) ? from : null;
}

/** The QuantizeLinear nodes behind the first output. */
export function quantizers(view: CheckView, node: Node): Node[] {
  return view.readers(node.outputs[0]).filter(isQuantize);
}

/** Whether everything that reads the first output quantizes it first. */
export function isClosed(view: CheckView, node: Node): boolean {
  const out = node.outputs[0];
  if (out === null || out === undefined || view.graph.isOutput(out)) return false;
  const readers = view.readers(out);
  return readers.length > 0 && readers.every(isQuantize);
}

/** Integer type of a conversion: that of its zero point, of `output_dtype`, or of what it reads; u8 where nothing says. */
export function gridType(view: CheckView, node: Node): DType {
  const zero = view.dtype(node.inputs[2]);
  if (zero !== null) return zero;
  const own = isDequantize(node) ? view.dtype(node.inputs[0]) : view.dtype(node.outputs[0]);
  return own ?? "u8";
}

/** Scale and zero point of a conversion as numbers; `null` for what is computed. */
export function gridOf(
  view: CheckView,
  node: Node,
): { readonly scale: readonly number[] | null; readonly zero: readonly number[] | null } {
  const zero = node.inputs[2];
  const list = (id: ValueId | null | undefined): readonly number[] | null => {
    const found = view.numbers(id);
    return found === null ? null : Array.from(found);
  };
  return {
    scale: list(node.inputs[1]),
    zero: zero === null || zero === undefined ? [0] : list(zero),
  };
}

const close = (a: number, b: number, tolerance: number): boolean =>
  Math.abs(a - b) <= tolerance * Math.max(Math.abs(a), Math.abs(b));

/** Whether two lists agree up to a relative tolerance; a list of one stands for any length. */
export function agree(a: readonly number[], b: readonly number[], tolerance: number): boolean {
  const n = Math.max(a.length, b.length);
  const at = (list: readonly number[], i: number): number => list[list.length === 1 ? 0 : i]!;
  return Array.from({ length: n }, (_, i) => close(at(a, i), at(b, i), tolerance)).every(Boolean);
}

/** Whether two conversions have one grid; `null` where one of them is computed and they are not the same values. */
export function sameGrid(view: CheckView, a: Node, b: Node): boolean | null {
  if (a.inputs[1] === b.inputs[1] && a.inputs[2] === b.inputs[2]) return true;
  const [ga, gb] = [gridOf(view, a), gridOf(view, b)];
  if (ga.scale === null || gb.scale === null || ga.zero === null || gb.zero === null) return null;
  return (
    gridType(view, a) === gridType(view, b) && agree(ga.scale, gb.scale, 1e-6) && agree(ga.zero, gb.zero, 0)
  );
}

/** Operators on integers, or on packed weights, whatever the provider. */
const INTEGER_OPERATORS =
  /^(QLinearConv|QLinearMatMul|ConvInteger|MatMulInteger|com\.microsoft:(QLinear\w+|QGemm|QAttention|MatMulIntegerToFloat|DynamicQuantizeMatMul|MatMulNBits|GatherBlockQuantized|GemmFloat8))$/;

/** Whether the operator itself computes on integers or packed weights. */
export const isIntegerOperator = (node: Node): boolean => INTEGER_OPERATORS.test(opKey(node));

/** Inputs that carry floats the node computes with; shapes, masks and parameters that stay float are left out. */
function dataInputs(view: CheckView, node: Node): ValueId[] {
  const steering = new Set(opSpec(node.domain, node.op)?.shapeInputs ?? []);
  const limit = PRODUCTS.includes(node.op)
    ? 2
    : /Normalization$|^(Resize|Clip|Pad)$/.test(node.op)
      ? 1
      : Number.POSITIVE_INFINITY;
  return node.inputs.filter((id, i): id is ValueId => {
    if (id === null || steering.has(i) || i >= limit) return false;
    const dtype = view.dtype(id);
    return dtype === null || dtype === "f32" || dtype === "f16" || dtype === "bf16";
  });
}

/** Why a node does not run on integers between conversions; `null` when it does. */
export function whyFloat(view: CheckView, node: Node, limits: Limits): string | null {
  const { pairs, closedUnits, blockDequantize } = limits;
  const weight = dequantized(view, node, 1);
  const blocked = weight !== null && view.int(weight, "block_size", 0) > 0;
  const weightOnly = weight !== null && view.isKnown(weight.inputs[0]) && dequantized(view, node, 0) === null;
  if (blockDequantize !== undefined && (node.op === "MatMul" || node.op === "Gemm") && blocked && weightOnly)
    return null;
  if (pairs === undefined) return "activations stay float on this target";
  const inputs = dataInputs(view, node);
  const fed = inputs.map((id) => view.producer(id)).filter((n): n is Node => isDequantize(n));
  if (fed.length === 0 && quantizers(view, node).length === 0) return "nothing around it is quantized";
  if (!pairs.operators.includes(opKey(node))) return `${opKey(node)} has no integer form there`;
  if (fed.length < inputs.length) return "an input is not quantized";
  const wrong = fed.map((n) => gridType(view, n)).find((t) => !pairs.types.includes(t));
  if (wrong !== undefined) return `${wrong} is not computed with there`;
  if (limits.inputPairs?.operators.includes(opKey(node))) return null;
  const product = node.op === "MatMul" || node.op === "Gemm";
  const open = limits.inputPairs?.operators.includes(opKey(node)) ?? (product && closedUnits !== undefined);
  if (!isClosed(view, node) && !open) return "its output is not quantized";
  return null;
}
