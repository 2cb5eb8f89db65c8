import { numbersOf } from "../../calibrate/dense.ts";
import { DTYPES, elementCount } from "../../ir/dtype.ts";
import { intAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../ir/tensor.ts";
import { type ConditionRows, limitOf } from "./conditions.ts";

/** An element no one feeds: the row that wins when nothing else matches. */
const NEVER = 1e30;

/**
 * One index per row fed: its place in the set, counted from 1, and 0 for a condition that is not in it. All elements of
 * all inputs are compared; one that differs by more than the limit, or is NaN, is enough. Conditions of another length
 * than those of the set fail in a Reshape.
 */
export function conditionIndex(patch: PatchBuilder, all: ConditionRows, tolerance: number): ValueId {
  let fresh = 0;
  const node = (op: string, inputs: readonly ValueId[], attrs = {}): ValueId =>
    patch.node({ op, name: `conditions/${op}${fresh++}`, inputs, attrs })[0];
  const f32 = (v: ArrayLike<number>, dims: readonly number[], name = "limits"): ValueId =>
    patch.constant(f32Tensor(Float32Array.from(v), dims), `conditions.${name}`);
  const i64 = (v: readonly number[]): ValueId => patch.constant(i64Tensor(v), "conditions.dims");
  const to = { to: intAttr(DTYPES.f32.onnx) };
  const { count } = all;
  let hits: ValueId | null = null;
  for (const [value, d] of all.inputs) {
    const length = elementCount(d.dims.slice(1));
    const table = new Float32Array((count + 1) * length).fill(NEVER);
    table.set(numbersOf(d), length);
    const flat = node("Reshape", [node("Cast", [value], to), i64([0, 1, length])]);
    const known = f32(table, [1, count + 1, length], "rows");
    const distance = node("Abs", [node("Sub", [flat, known])]);
    const near = node("Cast", [node("Less", [distance, f32([limitOf(d, tolerance)], [1])])], to);
    // Counting by a product: sums of ones are exact, and no operator changed its attributes since.
    const near1 = node("MatMul", [near, f32(new Float32Array(length).fill(1), [length, 1], "ones")]);
    const counted = node("Reshape", [near1, i64([-1, count + 1])]);
    const hit = node("Cast", [node("Less", [f32([length - 0.5], [1]), counted])], to);
    hits = hits === null ? hit : node("Mul", [hits, hit]);
  }
  // Half a hit for the first row: it wins against none and loses against one.
  const first = f32([0.5, ...new Array<number>(count).fill(0)], [count + 1]);
  const score = node("Add", [hits!, first]);
  return node("ArgMax", [score], { axis: intAttr(1), keepdims: intAttr(0) });
}
