import { DTYPES } from "../../../ir/dtype.ts";
import { type Graph, intAttr, type ValueId } from "../../../ir/graph.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../../ir/tensor.ts";
import { type Emitter, interpolated, stepwise, type Timeline } from "./timeline.ts";

/** How a range moves along the trajectory: a factor per calibrated call; `null` when it does not. */
export type Profile = Float64Array | null;

/** A request for base · profile, one vector of numbers. */
interface Wanted {
  readonly base: Float64Array;
  readonly over: number | null;
  readonly out: ValueId;
}

/** A request for round(beta / p_in + gamma · p_out / p_in) as int32. */
interface WantedBias {
  readonly beta: Float64Array;
  readonly gamma: Float64Array;
  readonly input: number | null;
  readonly output: number | null;
  readonly out: ValueId;
}

/**
 * Scales that follow the timestep. Layers ask for scalars, vectors and biases while they are written; {@link Clock.emit}
 * then adds one lookup for all of them: a table with a row per calibrated timestep, interpolated between rows, or with a
 * row per bucket of timesteps. A batch with several timesteps takes the widest range of them.
 */
export interface Clock {
  /** base · profile as a float32 vector (length 1: a scale for a whole tensor). */
  scale(base: ArrayLike<number>, profile: Profile): ValueId;
  /** round(beta / input + gamma · output / input) as an int32 vector, the bias of an integer convolution. */
  bias(
    beta: ArrayLike<number>,
    gamma: ArrayLike<number>,
    profiles: { readonly input: Profile; readonly output: Profile },
  ): ValueId;
  /** Adds the nodes. */
  emit(): ClockTable;
}

/** What a clock has added. */
export interface ClockTable {
  /** Profiles that move. */
  readonly profiles: number;
  readonly bytes: number;
  /** The bucket of each timestep at hand; `null` without buckets or without a moving profile. */
  readonly bucket: ValueId | null;
}

/** A profile in the rows of a table: the widest where several calls share a row. */
function inRows(profile: Float64Array, timesteps: readonly number[], timeline: Timeline): Float32Array {
  const out = new Float32Array(timeline.rows);
  for (const [i, t] of timesteps.entries()) {
    const r = timeline.rowOf(t);
    out[r] = Math.max(out[r]!, profile[i]!);
  }
  return out;
}

/**
 * Starts a clock on a graph. `timestep` is the graph input; `timesteps` those of the calibrated calls; `bounds` cut them
 * into buckets (see {@link stepwise}), `null` follows each of them.
 */
export function createClock(options: {
  readonly graph: Graph;
  readonly patch: PatchBuilder;
  readonly timestep: ValueId | null;
  readonly timesteps: readonly number[];
  readonly bounds?: readonly number[] | null;
  /** Version of the standard operators the graph is in. */
  readonly opset: number;
}): Clock {
  const { graph, patch, timestep, timesteps, bounds, opset } = options;
  const buckets = bounds == null ? null : stepwise(bounds);
  const timeline = timestep === null ? null : (buckets ?? interpolated(timesteps));
  const profiles: Float32Array[] = [];
  const known = new Map<Float64Array, number>();
  const scales: Wanted[] = [];
  const biases: WantedBias[] = [];
  let fresh = 0;

  const register = (p: Profile): number | null => {
    if (p === null || timeline === null) return null;
    let at = known.get(p);
    if (at === undefined) {
      at = profiles.length;
      profiles.push(inRows(p, timesteps, timeline));
      known.set(p, at);
    }
    return at;
  };

  const node: Emitter["node"] = (op, inputs, attrs = {}) =>
    patch.node({ op, name: `clock/${op}${fresh++}`, inputs, attrs })[0];
  const f32: Emitter["f32"] = (v, dims) => patch.constant(f32Tensor(v, dims), "clock");
  const i64: Emitter["i64"] = (v, dims) => patch.constant(i64Tensor(v, dims), "clock");
  const emitter: Emitter = { opset, node, f32, i64 };

  /** All profiles at the timesteps at hand. */
  function row(t: Timeline): ValueId {
    const values = new Float32Array(t.rows * profiles.length);
    for (const [l, p] of profiles.entries())
      for (let r = 0; r < t.rows; r++) values[r * profiles.length + l] = p[r]!;
    const table = patch.constant(f32Tensor(values, [t.rows, profiles.length]), "clock.table");
    return t.read(emitter, table, timestep!);
  }

  /** The factors of some profiles as a column, ones where a request has none. */
  function column(padded: ValueId, of: readonly (number | null)[]): ValueId {
    const index = i64(of.map((p) => p ?? profiles.length));
    return node("Reshape", [node("Gather", [padded, index], { axis: intAttr(0) }), i64([-1, 1])]);
  }

  /** Cuts a matrix into its rows and gives them to the values that were promised. */
  function deal(matrix: ValueId, length: number, outs: readonly ValueId[]): void {
    const flat = node("Reshape", [matrix, i64([-1])]);
    if (outs.length === 1) {
      patch.insert({ ...plain("Identity"), inputs: [flat], outputs: [outs[0]!], attrs: new Map() });
      return;
    }
    const split = i64(outs.map(() => length));
    patch.insert({
      ...plain("Split"),
      inputs: [flat, split],
      outputs: outs,
      attrs: new Map([["axis", intAttr(0)]]),
    });
  }
  const plain = (op: string) => ({
    id: graph.ids.node(),
    name: `clock/${op}${fresh++}`,
    domain: "",
    op,
    overload: "",
  });

  function byLength<T>(items: readonly T[], length: (t: T) => number): Map<number, T[]> {
    const groups = new Map<number, T[]>();
    for (const i of items) groups.set(length(i), [...(groups.get(length(i)) ?? []), i]);
    return groups;
  }
  const matrix = (rows: readonly Float64Array[], length: number): ValueId => {
    const all = new Float32Array(rows.length * length);
    for (const [i, r] of rows.entries()) all.set(r, i * length);
    return f32(all, [rows.length, length]);
  };

  return {
    scale(base, profile) {
      const p = register(profile);
      const values = Float64Array.from(base);
      if (p === null) return patch.constant(f32Tensor(values), "s");
      const out = patch.value("s");
      scales.push({ base: values, over: p, out });
      return out;
    },
    bias(beta, gamma, { input, output }) {
      const [i, o] = [register(input), register(output)];
      const b = Float64Array.from(beta);
      const g = Float64Array.from(gamma);
      const out = patch.value("b");
      biases.push({ beta: b, gamma: g, input: i, output: o, out });
      return out;
    },
    emit() {
      if (scales.length === 0 && biases.length === 0) return { profiles: 0, bytes: 0, bucket: null };
      const one = f32([1]);
      const factors =
        timeline === null || profiles.length === 0
          ? one
          : node("Concat", [row(timeline), one], { axis: intAttr(0) });
      for (const [length, group] of byLength(scales, (s) => s.base.length)) {
        const by = column(
          factors,
          group.map((s) => s.over),
        );
        const product = node("Mul", [
          matrix(
            group.map((s) => s.base),
            length,
          ),
          by,
        ]);
        deal(
          product,
          length,
          group.map((s) => s.out),
        );
      }
      for (const [length, group] of byLength(biases, (s) => s.beta.length)) {
        const input = column(
          factors,
          group.map((s) => s.input),
        );
        const output = column(
          factors,
          group.map((s) => s.output),
        );
        const shifted = node("Mul", [
          matrix(
            group.map((s) => s.gamma),
            length,
          ),
          output,
        ]);
        const sum = node("Add", [
          matrix(
            group.map((s) => s.beta),
            length,
          ),
          shifted,
        ]);
        const rounded = node("Round", [node("Div", [sum, input])]);
        deal(
          node("Cast", [rounded], { to: intAttr(DTYPES.i32.onnx) }),
          length,
          group.map((s) => s.out),
        );
      }
      const bucketed = buckets !== null && timestep !== null && profiles.length > 0;
      return {
        profiles: profiles.length,
        bytes: 4 * (timeline?.rows ?? 0) * profiles.length,
        bucket: bucketed ? buckets.index(emitter, timestep) : null,
      };
    },
  };
}
