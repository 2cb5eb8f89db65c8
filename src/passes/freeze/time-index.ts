import { DTYPES, type DType, isFloat } from "../../ir/dtype.ts";
import { type Graph, intAttr, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";

/** Timesteps this close count as equal: integers exactly, floats up to rounding. */
const TOLERANCE = { integer: 0.5, float: 1e-3 } as const;

/** A timestep no one feeds: the column that wins when nothing else matches. */
const NEVER = -1e30;

/** What an index over timesteps is made for. */
export interface TimeIndexOptions {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly patch: PatchBuilder;
  readonly timestep: ValueId;
  /** Distinct, further apart than rounding. */
  readonly timesteps: readonly number[];
}

/** Whether two of some timesteps cannot be told apart. */
export function tooClose(timesteps: readonly number[], dtype: DType): boolean {
  const limit = 2 * (isFloat(dtype) ? TOLERANCE.float : TOLERANCE.integer);
  const sorted = [...timesteps].sort((a, b) => a - b);
  return sorted.some((t, i) => i > 0 && t - sorted[i - 1]! < limit);
}

/**
 * One index per timestep fed: its place in the list, counted from 1, and 0 for a timestep that is not in it. Compared by
 * value, so that neither the order of a schedule nor its length matters.
 */
export function timeIndex(o: TimeIndexOptions): { readonly index: ValueId; readonly fed: Dim } {
  const { shapes, patch, timestep, timesteps } = o;
  const dtype = shapes.dtype(timestep)!;
  const fed = shapes.shape(timestep)!;
  let fresh = 0;
  const node = (op: string, inputs: readonly ValueId[], attrs = {}): ValueId =>
    patch.node({ op, name: `time/${op}${fresh++}`, inputs, attrs })[0];
  const f32 = (v: readonly number[]): ValueId => patch.constant(f32Tensor(v), "time.steps");
  const to = { to: intAttr(DTYPES.f32.onnx) };
  const shape = patch.constant(i64Tensor([-1, 1]), "time.dims");
  const column = node("Reshape", [node("Cast", [timestep], to), shape]);
  const distance = node("Abs", [node("Sub", [column, f32([NEVER, ...timesteps])])]);
  const limit = isFloat(dtype) ? TOLERANCE.float : TOLERANCE.integer;
  const hit = node("Cast", [node("Less", [distance, f32([limit])])], to);
  // Half a hit for the first column: it wins against none and loses against one.
  const score = node("Add", [hit, f32([0.5, ...timesteps.map(() => 0)])]);
  const index = node("ArgMax", [score], { axis: intAttr(1), keepdims: intAttr(0) });
  return { index, fed: fed.length === 1 ? fed[0]! : 1 };
}
