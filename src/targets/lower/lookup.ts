import { numbersOf } from "../../ir/constants.ts";
import { DTYPES, dtypeOf, elementCount, isFloat } from "../../ir/dtype.ts";
import { intAttr, type ValueId } from "../../ir/graph.ts";
import { f32Tensor, inlineTensor, type Tensor } from "../../ir/tensor.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import type { Emit, Lowered } from "./emit.ts";

/**
 * Rows of a table whose numbers half precision still tells apart: whole numbers are exact up to here, so a processor that
 * computes in fp16 finds the same row.
 */
export const MOST_ROWS = 2048;

/** A table of numbers to look rows up in. */
export interface Table {
  /** Index of every row that has numbers, and these rows as a matrix. */
  readonly rows: readonly number[];
  readonly matrix: Tensor;
  /** Rows there are, and the shape of one. */
  readonly count: number;
  readonly rest: readonly number[];
}

/**
 * A constant as a table, from its bytes. Rows of nothing but NaN are left out: that is what a product gives where no row
 * matches. Why it is none otherwise: a product of 0 and an infinite number would spoil every row.
 */
export function tableOf(
  tensor: Tensor,
  bytes: Uint8Array,
  numbers: ArrayLike<number>,
): Table | { why: string } {
  const [count, ...rest] = tensor.dims as [number, ...number[]];
  const width = elementCount(rest);
  const rows: number[] = [];
  for (let r = 0; r < count; r++) {
    let bad = 0;
    let nan = 0;
    for (let i = r * width; i < (r + 1) * width; i++) {
      if (!Number.isFinite(numbers[i])) bad++;
      if (Number.isNaN(numbers[i])) nan++;
    }
    if (nan === width) continue;
    if (bad > 0) return { why: "the table has numbers that are not finite" };
    rows.push(r);
  }
  if (rows.length === 0) return { why: "the table has no numbers" };
  if (rows.length === count) return { rows, count, rest, matrix: reshapeTensor(tensor, [count, width]) };
  const size = bytes.length / count;
  const kept = new Uint8Array(size * rows.length);
  for (const [to, from] of rows.entries())
    kept.set(bytes.subarray(from * size, (from + 1) * size), to * size);
  return { rows, count, rest, matrix: inlineTensor(tensor.dtype, [rows.length, width], kept) };
}

/** Integers are repeated at most so often. */
const MOST_COPIES = 64;

/** Expand: a product of floats with ones along the axes that grow, which changes no bit; integers stand side by side. */
export function expandAsProduct(e: Emit): Lowered {
  const x = e.input(0)!;
  const dtype = e.dtype(0);
  const from = e.shapes.staticShape(x);
  const to = e.shapes.staticShape(e.node.outputs[0]!);
  if (from === null || to === null || dtype === null) return { why: "its lengths are not known" };
  const lead = to.length - from.length;
  const times = to.map((d, i) => (i < lead || from[i - lead] === 1 ? d : 1));
  if (isFloat(dtype)) return e.op("Mul", [x, e.full(1, times, dtype)]);
  const copies = elementCount(times);
  if (copies === 0 || copies > MOST_COPIES) return { why: `it repeats ${dtype} ${copies} times` };
  let at = lead === 0 ? x : e.reshape(x, [...times.slice(0, lead).fill(1), ...from]);
  for (const [axis, n] of times.entries())
    if (n > 1) at = e.op("Concat", new Array<ValueId>(n).fill(at), { axis: intAttr(axis) });
  return at;
}

/** A comparison of floats that is converted to numbers; `null` for other conversions. */
export function castOfComparison(e: Emit, lacks: (op: string) => boolean): Lowered | null {
  const made = e.graph.producer(e.input(0));
  const to = dtypeOf(e.int("to", 0));
  if (made === undefined || made.domain !== "" || to === null || !isFloat(to) || !lacks(made.op)) return null;
  if (made.op !== "Less" && made.op !== "Greater") return null;
  const [a, b] = made.op === "Less" ? [made.inputs[0]!, made.inputs[1]!] : [made.inputs[1]!, made.inputs[0]!];
  const dtype = e.shapes.dtype(a);
  if (dtype === null || !isFloat(dtype)) return { why: `it compares ${dtype ?? "an unknown type"}` };
  // A difference is above zero exactly where the numbers differ that way, however little.
  const above = e.op("Clip", [e.op("Sub", [b, a]), e.scalar(0, dtype), e.scalar(1, dtype)]);
  const hit = e.op("Ceil", [above]);
  return dtype === to ? hit : e.cast(hit, DTYPES[to].onnx);
}

/** Gather of a constant position, or of positions one after the other: a Slice, without its axis for a single one. */
export function gatherAsSlice(e: Emit, index: Tensor): Lowered {
  const at = numbersOf(index);
  const shape = e.shape(0);
  if (at === null || shape === null) return { why: "its positions are not at hand" };
  if (index.dims.length > 1) return { why: "its positions are a matrix" };
  const axis = e.int("axis", 0) < 0 ? e.int("axis", 0) + shape.length : e.int("axis", 0);
  const length = shape[axis];
  if (typeof length !== "number" || at.length === 0) return { why: "the length of its axis is not known" };
  const start = at[0]! < 0 ? at[0]! + length : at[0]!;
  if (at.some((p, i) => (p < 0 ? p + length : p) !== start + i) || start < 0 || start + at.length > length)
    return { why: "its positions do not follow each other" };
  const cut = e.op("Slice", [e.input(0), e.ints([start]), e.ints([start + at.length]), e.ints([axis])]);
  return index.dims.length === 1 ? cut : e.op("Squeeze", [cut, e.ints([axis])]);
}

/** Gather of rows of a table: positions compared with every row's number, and a product of what comes out. */
export function gatherAsProduct(e: Emit, table: Table): Lowered {
  const index = e.input(1)!;
  const dims = e.shapes.shape(index);
  if (dims === null) return { why: "the rank of its positions is not known" };
  const { rows, count, rest, matrix } = table;
  const lengths = e.shapes.staticShape(index);
  if (rest.length !== 1 && lengths === null) return { why: "its lengths are not known" };
  const column = e.unsqueeze(e.cast(index, DTYPES.f32.onnx), [dims.length]);
  const row = (values: readonly number[]): ValueId =>
    e.patch.constant(f32Tensor(values), `${e.node.name}/rows`);
  const from = (values: readonly number[]): ValueId => e.op("Abs", [e.op("Sub", [column, row(values)])]);
  // Positions below zero count from the end.
  const apart = e.op("Min", [from(rows), from(rows.map((r) => r - count))]);
  const hit = e.op("Relu", [e.op("Sub", [e.scalar(1, "f32"), apart])]);
  // One hit: divided by itself it stays 1. None: 0 by 0 makes the whole row NaN, so that nothing passes for a row.
  const hits = e.op("ReduceSum", [hit, e.ints([-1])], { keepdims: intAttr(1) });
  const chosen = e.op("Div", [hit, hits]);
  const { dtype } = matrix;
  const product = e.op("MatMul", [
    dtype === "f32" ? chosen : e.cast(chosen, DTYPES[dtype].onnx),
    e.patch.constant(matrix, `${e.node.name}/table`),
  ]);
  return rest.length === 1 ? product : e.reshape(product, [...lengths!, ...rest]);
}

/** What the substitutes are made of: a target has to take all of it. */
export const PARTS = {
  Expand: ["Concat", "Mul", "Reshape"],
  Less: ["Cast", "Ceil", "Clip", "Sub"],
  Greater: ["Cast", "Ceil", "Clip", "Sub"],
  Gather: [
    "Abs",
    "Cast",
    "Div",
    "MatMul",
    "Min",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Slice",
    "Squeeze",
    "Sub",
    "Unsqueeze",
  ],
} as const satisfies Readonly<Record<string, readonly string[]>>;
