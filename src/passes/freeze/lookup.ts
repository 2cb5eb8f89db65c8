import { DTYPES, type DType, isFloat } from "../../ir/dtype.ts";
import { type Graph, intAttr, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../ir/tensor.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import type { Frozen } from "./time-path.ts";

/** Timesteps this close count as equal: integers exactly, floats up to rounding. */
const TOLERANCE = { integer: 0.5, float: 1e-3 } as const;

/** A timestep no one feeds: the column that wins when nothing else matches. */
const NEVER = -1e30;

/** Writes the lookups of frozen values. */
export interface Lookup {
  /** Rows of a value at the timesteps fed; rows of others are NaN. `null` where the axis of rows has an unknown length. */
  value(f: Frozen, rows: Float32Array, name: string): ValueId | null;
}

/** What a lookup is made for. */
export interface LookupOptions {
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
export function createLookup(o: LookupOptions): Lookup {
  const { graph, shapes, patch, timestep, timesteps } = o;
  const dtype = shapes.dtype(timestep)!;
  const fed = shapes.shape(timestep)!;
  let fresh = 0;
  const node = (op: string, inputs: readonly ValueId[], attrs = {}): ValueId =>
    patch.node({ op, name: `time/${op}${fresh++}`, inputs, attrs })[0];
  const f32 = (v: readonly number[]): ValueId => patch.constant(f32Tensor(v), "time.steps");
  const i64 = (v: readonly number[]): ValueId => patch.constant(i64Tensor(v), "time.dims");
  const to = (t: DType) => ({ to: intAttr(DTYPES[t].onnx) });

  const column = node("Reshape", [node("Cast", [timestep], to("f32")), i64([-1, 1])]);
  const distance = node("Abs", [node("Sub", [column, f32([NEVER, ...timesteps])])]);
  const limit = isFloat(dtype) ? TOLERANCE.float : TOLERANCE.integer;
  const hit = node("Cast", [node("Less", [distance, f32([limit])])], to("f32"));
  // Half a hit for the first column: it wins against none and loses against one.
  const score = node("Add", [hit, f32([0.5, ...timesteps.map(() => 0)])]);
  const index = node("ArgMax", [score], { axis: intAttr(1), keepdims: intAttr(0) });
  const expanded = new Map<string, ValueId | null>();

  /** The index with as many rows as a value has: one timestep may serve a whole batch. */
  function indexFor(value: ValueId): ValueId | null {
    const rows = shapes.shape(value)![0]!;
    const own = fed.length === 1 ? fed[0]! : 1;
    const key = String(rows);
    if (rows === own) return index;
    const known = expanded.get(key);
    if (known !== undefined) return known;
    let length: ValueId | null = null;
    if (typeof rows === "number") length = i64([rows]);
    else {
      const like = graph.inputs.find((i) => shapes.shape(i)?.[0] === rows);
      if (like !== undefined)
        length = node("Gather", [node("Shape", [like]), i64([0])], { axis: intAttr(0) });
    }
    const made = length === null ? null : node("Expand", [index, length]);
    expanded.set(key, made);
    return made;
  }

  return {
    value(f, rows, name) {
      const at = indexFor(f.value);
      if (at === null) return null;
      const width = rows.length / timesteps.length;
      const filled = new Float32Array((timesteps.length + 1) * width).fill(Number.NaN);
      filled.set(rows, width);
      const wide = f32Tensor(filled, [timesteps.length + 1, ...f.rest]);
      const type = shapes.dtype(f.value)!;
      const table: Tensor = type === "f32" ? wide : castTensor(wide, type);
      const [out] = patch.node({
        op: "Gather",
        name: `${name}/frozen`,
        inputs: [patch.constant(table, `${name}.table`), at],
        attrs: { axis: intAttr(0) },
      });
      return out;
    },
  };
}
