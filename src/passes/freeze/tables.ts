import { denseFrom, floats } from "../../calibrate/dense.ts";
import { dimSymbols, isUnknown, substitute } from "../../ir/dim.ts";
import { type DType, elementCount } from "../../ir/dtype.ts";
import { Graph, IdSource, type Model, type Node, type Value, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import type { PassContext } from "../pass.ts";
import type { TimePath } from "./time-path.ts";

/** Rows of one value: row i belongs to timestep i. */
export type Rows = ReadonlyMap<ValueId, Float32Array>;

/** Rows that differ by more than this share of the table's largest value do not depend on their timestep alone. */
const SAME_ROW = 1e-5;

/** What evaluating a time path needs. */
export interface TimeInput {
  readonly timestep: ValueId;
  readonly dtype: DType;
  readonly dims: readonly Dim[];
}

/** Every symbol of a dim set to one length. */
function fixed(d: Dim, length: number): number {
  const n = substitute(d, Object.fromEntries(dimSymbols(d).map((s) => [s, length])));
  if (typeof n !== "number") throw new Error(`a dim of the time path stays open: ${String(n)}`);
  return n;
}

/** What a Shape gives where dims have numbers or symbols; `null` where they have neither. */
function lengthsOf(node: Node, shapes: InferredShapes): readonly Dim[] | null {
  const data = shapes.data(node.outputs[0]!);
  const whole = node.attrs.size === 0 ? shapes.shape(node.inputs[0]!) : null;
  const dims = data ?? whole;
  return dims === null || dims.some(isUnknown) ? null : dims;
}

const measures = (node: Node): boolean => node.domain === "" && (node.op === "Shape" || node.op === "Size");

/** The value whose lengths the path needs and nobody knows; `null` when all are known. */
export function openLength(path: TimePath, ctx: PassContext): string | null {
  const open = path.nodes.find(
    (n) => measures(n) && (n.op === "Size" || lengthsOf(n, ctx.shapes()) === null),
  );
  return open === undefined ? null : ctx.model.graph.value(open.inputs[0]!).name;
}

/** The time path as a model with the timestep as its only input; symbolic dims have `length`. */
function fragment(path: TimePath, input: TimeInput, length: number, ctx: PassContext): Model {
  const { graph } = ctx.model;
  const shapes = ctx.shapes();
  const values = new Map<ValueId, Value>();
  const nodes = path.nodes.filter((node) => {
    if (!measures(node)) return true;
    const out = node.outputs[0]!;
    const numbers = lengthsOf(node, shapes)!.map((d) => fixed(d, length));
    values.set(out, { ...graph.value(out), producer: null, init: i64Tensor(numbers) });
    return false;
  });
  for (const node of nodes) {
    for (const i of node.inputs) if (i !== null && !values.has(i)) values.set(i, graph.value(i));
    for (const o of node.outputs) if (o !== null) values.set(o, { ...graph.value(o), type: shapes.type(o) });
  }
  const dims = input.dims.map((d) => fixed(d, length));
  values.set(input.timestep, {
    ...graph.value(input.timestep),
    type: { kind: "tensor", dtype: input.dtype, shape: dims },
  });
  // Declared shapes hold symbols that this fragment has numbers for.
  const body = new Graph({
    ids: new IdSource(),
    name: "time",
    nodes,
    values: [...values.values()].map((v) =>
      v.type?.kind === "tensor" && v.id !== input.timestep ? { ...v, type: { ...v.type, shape: null } } : v,
    ),
    inputs: [input.timestep],
    outputs: path.frontier.map((f) => f.value),
  });
  return { ...ctx.model, graph: body, functions: [], meta: {} };
}

/** Values of the frontier at some timesteps fed at once; each has as many rows as the model makes. */
async function run(
  path: TimePath,
  input: TimeInput,
  times: readonly number[],
  ctx: PassContext,
): Promise<Map<ValueId, Float32Array>> {
  const model = fragment(path, input, times.length, ctx);
  const dims = input.dims.map((d) => fixed(d, times.length));
  const { name } = ctx.model.graph.value(input.timestep);
  const filled = Array.from({ length: elementCount(dims) }, (_, i) => times[i % times.length]!);
  const found = await ctx.evaluator.run(model, new Map([[name, denseFrom(input.dtype, dims, filled)]]));
  return new Map(
    path.frontier.map((f) => [f.value, floats(found.get(ctx.model.graph.value(f.value).name)!)]),
  );
}

function differs(a: Float32Array, b: Float32Array, limit: number): boolean {
  for (let i = 0; i < a.length; i++) if (!(Math.abs(a[i]! - b[i]!) <= limit)) return true;
  return false;
}

/**
 * Runs the time path at every timestep and checks that rows depend on their own timestep alone: alone and together with
 * others they must come out the same. Returns the name of the first value where they do not.
 */
export async function tablesOf(
  path: TimePath,
  input: TimeInput,
  timesteps: readonly number[],
  ctx: PassContext,
): Promise<Rows | { readonly mixed: string }> {
  const [length] = input.dims;
  const together = input.dims.length === 1 && length !== 1;
  const size = typeof length === "number" ? length : timesteps.length;
  const rows = new Map(
    path.frontier.map((f) => [f.value, new Float32Array(timesteps.length * elementCount(f.rest))]),
  );
  const alone = async (i: number): Promise<Map<ValueId, Float32Array>> => {
    const t = timesteps[i]!;
    return await run(path, input, typeof length === "number" ? new Array<number>(size).fill(t) : [t], ctx);
  };
  const chunk = together ? size : 1;
  for (let from = 0; from < timesteps.length; from += chunk) {
    const some = timesteps.slice(from, from + chunk);
    // A fixed batch wants as many timesteps as it has rows.
    const filled = Array.from({ length: chunk }, (_, i) => some[i % some.length]!);
    const found = together ? await run(path, input, filled, ctx) : await alone(from);
    for (const f of path.frontier) {
      const width = elementCount(f.rest);
      rows.get(f.value)!.set(found.get(f.value)!.subarray(0, some.length * width), from * width);
    }
  }
  for (const i of new Set([0, timesteps.length - 1])) {
    const found = await alone(i);
    for (const f of path.frontier) {
      const width = elementCount(f.rest);
      const table = rows.get(f.value)!;
      const limit = SAME_ROW * table.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      const single = found.get(f.value)!;
      const row = table.subarray(i * width, (i + 1) * width);
      for (let at = 0; at < single.length; at += width)
        if (differs(single.subarray(at, at + width), row, limit))
          return { mixed: ctx.model.graph.value(f.value).name };
    }
  }
  return rows;
}
