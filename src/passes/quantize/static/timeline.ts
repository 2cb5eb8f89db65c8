import { DTYPES } from "../../../ir/dtype.ts";
import { type Attr, intAttr, intsAttr, type ValueId } from "../../../ir/graph.ts";

/** Adds nodes and constants of a lookup. */
export interface Emitter {
  /** Version of the standard operators. */
  readonly opset: number;
  node(op: string, inputs: readonly (ValueId | null)[], attrs?: Readonly<Record<string, Attr>>): ValueId;
  f32(values: ArrayLike<number>, dims?: readonly number[]): ValueId;
  i64(values: readonly number[], dims?: readonly number[]): ValueId;
}

/** The rows a table over time has, and how the one for the timesteps at hand is found. */
export interface Timeline {
  readonly rows: number;
  /** The row of a calibrated timestep. */
  rowOf(timestep: number): number;
  /**
   * Reads `table` (`[rows, profiles]`) at a graph input of timesteps: `[profiles]`, the widest of them where they are
   * several.
   */
  read(emit: Emitter, table: ValueId, timestep: ValueId): ValueId;
}

const castTo = (dtype: "f32" | "i64") => ({ to: intAttr(DTYPES[dtype].onnx) });
const axis0 = { axis: intAttr(0) };

/** Timesteps as float32, one a row. */
function column(emit: Emitter, timestep: ValueId): ValueId {
  return emit.node("Reshape", [emit.node("Cast", [timestep], castTo("f32")), emit.i64([-1, 1])]);
}

function widest(emit: Emitter, rows: ValueId): ValueId {
  const keepdims = intAttr(0);
  // Axes are an attribute up to opset 17 and an input from 18.
  return emit.opset < 18
    ? emit.node("ReduceMax", [rows], { axes: intsAttr([0]), keepdims })
    : emit.node("ReduceMax", [rows, emit.i64([0])], { keepdims });
}

/**
 * A row per calibrated timestep, interpolated between them, so that any schedule works; `null` for fewer than two
 * timesteps. They need not be even: a timestep's position is the sum, over the gaps between them, of how far it is
 * through each.
 */
export function interpolated(timesteps: readonly number[]): Timeline | null {
  const knots = [...new Set(timesteps)].sort((a, b) => a - b);
  const rows = knots.length;
  if (rows < 2) return null;
  const gaps = knots.slice(1).map((t, i) => 1 / (t - knots[i]!));
  return {
    rows,
    rowOf: (t) => knots.indexOf(t),
    read(emit, table, timestep) {
      const { node, f32, i64 } = emit;
      const t = column(emit, timestep);
      const through = node("Mul", [node("Sub", [t, f32(knots.slice(0, -1))]), f32(gaps)]);
      const u = node("ReduceSum", [node("Clip", [through, f32([0], []), f32([1], [])]), i64([1])]);
      const low = node("Floor", [u]);
      const high = node("Min", [node("Add", [low, f32([1], [])]), f32([rows - 1], [])]);
      const at = (v: ValueId): ValueId =>
        node("Gather", [table, node("Reshape", [node("Cast", [v], castTo("i64")), i64([-1])])], axis0);
      const [a, b] = [at(low), at(high)];
      return widest(emit, node("Add", [a, node("Mul", [node("Sub", [b, a]), node("Sub", [u, low])])]));
    },
  };
}

/** A row per bucket: bucket k holds `bounds[k - 1] <= t < bounds[k]`, the outer ones everything beyond. */
export function stepwise(bounds: readonly number[]): Timeline & {
  /** The buckets of the timesteps at hand as int64, one each. */
  index(emit: Emitter, timestep: ValueId): ValueId;
} {
  let known: ValueId | null = null;
  const index = (emit: Emitter, timestep: ValueId): ValueId => {
    const { node, i64 } = emit;
    const passed = node("GreaterOrEqual", [column(emit, timestep), emit.f32(bounds)]);
    return node("ReduceSum", [node("Cast", [passed], castTo("i64")), i64([1])], { keepdims: intAttr(0) });
  };
  const self = {
    rows: bounds.length + 1,
    rowOf: (t: number) => bounds.filter((b) => t >= Math.fround(b)).length,
    index: (emit: Emitter, timestep: ValueId) => (known ??= index(emit, timestep)),
    read: (emit: Emitter, table: ValueId, timestep: ValueId) =>
      widest(emit, emit.node("Gather", [table, self.index(emit, timestep)], axis0)),
  };
  return self;
}
