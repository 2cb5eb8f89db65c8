import { DTYPES, type DType } from "../../../ir/dtype.ts";
import { type Graph, intAttr, type ValueId } from "../../../ir/graph.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../../ir/tensor.ts";
import type { AffineFit } from "../../../numeric/affine-fit.ts";

/** How corrections of timesteps between the fitted ones are found. */
export type Lookup = "interpolate" | "nearest";

/** Where a table of corrections goes. */
export interface Baking {
  readonly output: ValueId;
  readonly timestep: ValueId;
  /** Type of the output. */
  readonly dtype: DType;
  readonly rank: number;
  readonly axis: number;
  /** Channels of the output; those behind the corrected ones (a learned variance) stay as they are. */
  readonly channels: number;
  readonly lookup: Lookup;
  /** Ascending timesteps. */
  readonly steps: readonly { readonly timestep: number; readonly fit: AffineFit }[];
}

/** Rows of gains and of offsets, one a timestep; a single gain where all channels share it. */
function tables(b: Baking): { readonly gains: number[][]; readonly offsets: number[][] } {
  const shared = b.steps.every((s) => s.fit.offset.length === b.channels);
  const channels = Array.from({ length: b.channels }, (_, c) => c);
  return {
    gains: b.steps.map(({ fit }) =>
      shared ? [fit.gain] : channels.map((c) => (c < fit.offset.length ? fit.gain : 1)),
    ),
    offsets: b.steps.map(({ fit }) => channels.map((c) => fit.offset[c] ?? 0)),
  };
}

/**
 * How far the timestep has come past each gap between calibrated ones, `[batch, gaps]`: 0 before it, 1 behind it, and in
 * between the fraction (`interpolate`) or 1 from the middle on (`nearest`). A table then is its first row plus these
 * times its differences, for any schedule and any spacing, and constant outside the calibrated range.
 */
function progress(patch: PatchBuilder, b: Baking): ValueId {
  const times = b.steps.map((s) => s.timestep);
  const [low, high] = [times.slice(0, -1), times.slice(1)];
  const row = (values: readonly number[], name: string): ValueId =>
    patch.constant(f32Tensor(values, [1, values.length]), `correct.${name}`);
  const f32 = { to: intAttr(DTYPES.f32.onnx) };
  const [cast] = patch.node({ op: "Cast", name: "correct/time", inputs: [b.timestep], attrs: f32 });
  const column = patch.constant(i64Tensor([-1, 1]), "correct.column");
  const [t] = patch.node({ op: "Reshape", name: "correct/column", inputs: [cast, column] });
  if (b.lookup === "nearest") {
    const middle = row(
      low.map((x, i) => (x + high[i]!) / 2),
      "middle",
    );
    const [past] = patch.node({ op: "Less", name: "correct/past", inputs: [middle, t] });
    return patch.node({ op: "Cast", name: "correct/passed", inputs: [past], attrs: f32 })[0];
  }
  const [since] = patch.node({ op: "Sub", name: "correct/since", inputs: [t, row(low, "low")] });
  const gap = row(
    low.map((x, i) => high[i]! - x),
    "gap",
  );
  const [part] = patch.node({ op: "Div", name: "correct/part", inputs: [since, gap] });
  const zero = patch.constant(f32Tensor([0], []), "correct.zero");
  const one = patch.constant(f32Tensor([1], []), "correct.one");
  const [above] = patch.node({ op: "Max", name: "correct/above", inputs: [part, zero] });
  return patch.node({ op: "Min", name: "correct/passed", inputs: [above, one] })[0];
}

/** Looks a table up: `[batch or 1, columns]`, reshaped to broadcast over the output. */
function looked(
  patch: PatchBuilder,
  b: Baking,
  passed: ValueId | null,
  table: readonly (readonly number[])[],
  name: string,
): ValueId {
  const width = table[0]!.length;
  const first = patch.constant(f32Tensor(table[0]!, [1, width]), `correct.${name}.first`);
  let value = first;
  if (passed !== null) {
    const rises = table.slice(1).flatMap((r, i) => r.map((x, c) => x - table[i]![c]!));
    const rise = patch.constant(f32Tensor(rises, [table.length - 1, width]), `correct.${name}.rise`);
    const [risen] = patch.node({ op: "MatMul", name: `correct/${name}/risen`, inputs: [passed, rise] });
    [value] = patch.node({ op: "Add", name: `correct/${name}/at`, inputs: [risen, first] });
  }
  const dims = Array.from({ length: b.rank }, (_, i) => (i === 0 ? -1 : i === b.axis ? width : 1));
  const shape = patch.constant(i64Tensor(dims), `correct.${name}.dims`);
  const [shaped] = patch.node({ op: "Reshape", name: `correct/${name}`, inputs: [value, shape] });
  if (b.dtype === "f32") return shaped;
  return patch.node({
    op: "Cast",
    name: `correct/${name}/narrow`,
    inputs: [shaped],
    attrs: { to: intAttr(DTYPES[b.dtype].onnx) },
  })[0];
}

/** Puts `y · gain(t) + offset(t)` behind the node that makes the output. */
export function bake(graph: Graph, b: Baking): void {
  const patch = new PatchBuilder(graph, "correct-output");
  const maker = graph.producer(b.output)!;
  const raw = patch.value(`${graph.value(b.output).name}_uncorrected`);
  patch.replace(maker, { outputs: maker.outputs.map((o) => (o === b.output ? raw : o)) });
  const passed = b.steps.length > 1 ? progress(patch, b) : null;
  const { gains, offsets } = tables(b);
  const gain = looked(patch, b, passed, gains, "gain");
  const offset = looked(patch, b, passed, offsets, "offset");
  const [scaled] = patch.node({ op: "Mul", name: "correct/scaled", inputs: [raw, gain] });
  patch.insert({
    id: graph.ids.node(),
    name: "correct/output",
    domain: "",
    op: "Add",
    overload: "",
    inputs: [scaled, offset],
    outputs: [b.output],
    attrs: new Map(),
  });
  patch.apply();
}
