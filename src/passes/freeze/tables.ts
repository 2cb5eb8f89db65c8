import { denseFrom, floats } from "../../calibrate/dense.ts";
import { dimSymbols, isUnknown, substitute } from "../../ir/dim.ts";
import { type DType, elementCount } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import { Graph, IdSource, type Model, type Node, type Value, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import type { PassContext } from "../pass.ts";
import type { FrozenPath } from "./path.ts";

/** Rows of values: row i belongs to timestep or condition i. */
export type Rows = ReadonlyMap<ValueId, Float32Array>;

/** Rows that differ by more than this share of the table's largest value do not depend on what they belong to alone. */
export const SAME_ROW = 1e-5;

/** What evaluating a time path needs. */
export interface TimeInput {
  readonly timestep: ValueId;
  readonly dtype: DType;
  readonly dims: readonly Dim[];
}

/** Lengths of symbolic dims. */
export type SymbolLengths = (symbol: string) => number;

/** An input of a path. */
export interface PathInput {
  readonly value: ValueId;
  readonly dtype: DType;
  readonly dims: readonly Dim[];
}

/** A dim with its symbols set to their lengths. */
function fixed(d: Dim, lengths: SymbolLengths): number {
  const n = substitute(d, Object.fromEntries(dimSymbols(d).map((s) => [s, lengths(s)])));
  if (typeof n !== "number") throw new Error(`a dim of a frozen path stays open: ${String(n)}`);
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
export function openLength(path: FrozenPath, ctx: PassContext): string | null {
  const open = path.nodes.find(
    (n) => measures(n) && (n.op === "Size" || lengthsOf(n, ctx.shapes()) === null),
  );
  return open === undefined ? null : ctx.model.graph.value(open.inputs[0]!).name;
}

/** A path as a model with nothing but its inputs. */
function fragment(
  path: FrozenPath,
  inputs: readonly PathInput[],
  lengths: SymbolLengths,
  ctx: PassContext,
): Model {
  const { graph } = ctx.model;
  const shapes = ctx.shapes();
  const values = new Map<ValueId, Value>();
  const nodes = path.nodes.filter((node) => {
    if (!measures(node)) return true;
    const out = node.outputs[0]!;
    const numbers = lengthsOf(node, shapes)!.map((d) => fixed(d, lengths));
    values.set(out, { ...graph.value(out), producer: null, init: i64Tensor(numbers) });
    return false;
  });
  for (const node of nodes) {
    for (const i of node.inputs) if (i !== null && !values.has(i)) values.set(i, graph.value(i));
    for (const o of node.outputs) if (o !== null) values.set(o, { ...graph.value(o), type: shapes.type(o) });
  }
  for (const { value, dtype, dims } of inputs)
    values.set(value, {
      ...graph.value(value),
      type: { kind: "tensor", dtype, shape: dims.map((d) => fixed(d, lengths)) },
    });
  const fed = new Set(inputs.map((i) => i.value));
  // Declared shapes hold symbols that this fragment has numbers for.
  const body = new Graph({
    ids: new IdSource(),
    name: "frozen",
    nodes,
    values: [...values.values()].map((v) =>
      v.type?.kind === "tensor" && !fed.has(v.id) ? { ...v, type: { ...v.type, shape: null } } : v,
    ),
    inputs: [...fed],
    outputs: path.frontier.map((f) => f.value),
  });
  return { ...ctx.model, graph: body, functions: [], meta: {} };
}

/** Values of a path's frontier on some inputs; each has as many rows as the model makes. */
export async function runPath(
  path: FrozenPath,
  feeds: readonly { readonly input: PathInput; readonly data: Dense }[],
  lengths: SymbolLengths,
  ctx: PassContext,
): Promise<Map<ValueId, Float32Array>> {
  const { graph } = ctx.model;
  const model = fragment(
    path,
    feeds.map((f) => f.input),
    lengths,
    ctx,
  );
  const fed = new Map(feeds.map(({ input, data }) => [graph.value(input.value).name, data]));
  const found = await ctx.evaluator.run(model, fed);
  return new Map(path.frontier.map((f) => [f.value, floats(found.get(graph.value(f.value).name)!)]));
}

async function run(
  path: FrozenPath,
  input: TimeInput,
  times: readonly number[],
  ctx: PassContext,
): Promise<Map<ValueId, Float32Array>> {
  const lengths = (): number => times.length;
  const dims = input.dims.map((d) => fixed(d, lengths));
  const filled = Array.from({ length: elementCount(dims) }, (_, i) => times[i % times.length]!);
  const data = denseFrom(input.dtype, dims, filled);
  return await runPath(path, [{ input: { ...input, value: input.timestep }, data }], lengths, ctx);
}

/** Whether two arrays differ by more than a limit anywhere. */
export function differs(a: Float32Array, b: Float32Array, limit: number): boolean {
  for (let i = 0; i < a.length; i++) if (!(Math.abs(a[i]! - b[i]!) <= limit)) return true;
  return false;
}

/**
 * Runs the time path at every timestep and checks that rows depend on their own timestep alone: alone and together with
 * others they must come out the same. Returns the name of the first value where they do not.
 */
export async function tablesOf(
  path: FrozenPath,
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
