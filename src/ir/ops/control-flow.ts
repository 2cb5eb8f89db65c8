import type { Attr, Graph } from "../graph.ts";
import type { Dim, ValueType } from "../types.ts";
import { tensorType } from "../types.ts";
import { count, MANY, normalizeAxis } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";
import { joinTypes, sameType } from "./type-rules.ts";

const VERSIONS = [1, 11, 13, 16, 19, 21, 23, 24, 25] as const;

function graphAttr(ctx: InferContext, name: string): Graph | null {
  const a: Attr | undefined = ctx.attr(name);
  if (a?.kind === "graph") return a.value;
  ctx.invalid(
    a === undefined ? `attribute ${name} is missing` : `attribute ${name} is ${a.kind}, not a graph`,
  );
  return null;
}

function inferIf(ctx: InferContext): void {
  const then = graphAttr(ctx, "then_branch");
  const otherwise = graphAttr(ctx, "else_branch");
  if (then === null || otherwise === null) return;
  const a = ctx.subgraph(then, []);
  const b = ctx.subgraph(otherwise, []);
  if (a.length !== b.length) ctx.invalid(`the branches have ${a.length} and ${b.length} outputs`);
  for (let i = 0; i < ctx.node.outputs.length; i++)
    ctx.setType(i, joinTypes(ctx, a[i] ?? null, b[i] ?? null));
}

/** How often loop-carried types are widened before their shapes are given up: each round can only lose knowledge. */
const MAX_WIDENINGS = 3;

/** Body output types once the carried values' types hold for every iteration. */
function settle(
  ctx: InferContext,
  body: Graph,
  lead: readonly (ValueType | null)[],
  initial: readonly (ValueType | null)[],
  trail: readonly (ValueType | null)[],
  carriedAt: number,
): { readonly carried: readonly (ValueType | null)[]; readonly outputs: readonly (ValueType | null)[] } {
  let carried = initial;
  const own = new Set<Dim>();
  for (let round = 0; ; round++) {
    const outputs = ctx.subgraph(body, [...lead, ...carried, ...trail]);
    const next = carried.map((t, i) => joinTypes(ctx, t, outputs[i + carriedAt] ?? null, own));
    if (next.every((t, i) => sameType(t, carried[i] ?? null))) return { carried, outputs };
    carried =
      round < MAX_WIDENINGS ? next : next.map((t) => (t?.kind === "tensor" ? { ...t, shape: null } : null));
    if (round > MAX_WIDENINGS) return { carried, outputs: outputs.map(() => null) };
  }
}

function stacked(
  ctx: InferContext,
  type: ValueType | null,
  axis: number,
  length: Dim,
  batch: readonly Dim[] = [],
): ValueType | null {
  if (type?.kind !== "tensor") return null;
  if (type.shape === null) return tensorType(type.dtype, null);
  const shape = [...type.shape];
  const at = normalizeAxis(axis, shape.length + 1);
  if (at === null) {
    ctx.invalid(`scan axis ${axis} is out of range for rank ${shape.length + 1}`);
    return tensorType(type.dtype, null);
  }
  shape.splice(at, 0, length);
  return tensorType(type.dtype, [...batch, ...shape]);
}

function inferLoop(ctx: InferContext): void {
  const body = graphAttr(ctx, "body");
  if (body === null) return;
  const initial = ctx.node.inputs.slice(2).map((_, i) => ctx.type(i + 2));
  const lead = [tensorType("i64", []), tensorType("bool", [])];
  const { carried, outputs } = settle(ctx, body, lead, initial, [], 1);
  const length = ctx.fresh();
  for (let i = 0; i < ctx.node.outputs.length; i++) {
    const scan = outputs[i + 1] ?? null;
    ctx.setType(i, i < carried.length ? (carried[i] ?? null) : stacked(ctx, scan, 0, length));
  }
}

function without(
  ctx: InferContext,
  type: ValueType | null,
  axis: number,
): { readonly slice: ValueType | null; readonly length: Dim | null } {
  if (type?.kind !== "tensor") return { slice: null, length: null };
  if (type.shape === null) return { slice: type, length: null };
  const at = normalizeAxis(axis, type.shape.length);
  if (at === null) {
    ctx.invalid(`scan axis ${axis} is out of range for rank ${type.shape.length}`);
    return { slice: tensorType(type.dtype, null), length: null };
  }
  const shape = type.shape.filter((_, i) => i !== at);
  return { slice: tensorType(type.dtype, shape), length: type.shape[at] ?? null };
}

function inferScan(ctx: InferContext): void {
  const body = graphAttr(ctx, "body");
  if (body === null) return;
  // Version 8 has sequence lengths as input 0 and a batch axis in front of everything.
  const batched = ctx.opset < 9;
  const from = batched ? 1 : 0;
  const total = ctx.node.inputs.length - from;
  const scans = ctx.int("num_scan_inputs", 0);
  const states = total - scans;
  if (scans < 1 || states < 0) {
    ctx.invalid(`num_scan_inputs is ${scans} of ${total} inputs`);
    return;
  }
  const unbatch = (t: ValueType | null): ValueType | null => (batched ? without(ctx, t, 0).slice : t);
  const inAxes = ctx.ints_("scan_input_axes");
  const outAxes = ctx.ints_("scan_output_axes");
  let length: Dim | null = null;
  const initial = Array.from({ length: states }, (_, i) => unbatch(ctx.type(i + from)));
  const slices = Array.from({ length: scans }, (_, i) => {
    const s = without(ctx, unbatch(ctx.type(i + from + states)), inAxes?.[i] ?? 0);
    if (length === null || typeof s.length === "number") length = s.length ?? length;
    return s.slice;
  });
  const { carried, outputs } = settle(ctx, body, [], initial, slices, 0);
  const firstShape = ctx.shape(from);
  const batch: readonly Dim[] = batched ? [firstShape?.[0] ?? ctx.fresh()] : [];
  const steps: Dim = length ?? ctx.fresh();
  for (let i = 0; i < ctx.node.outputs.length; i++) {
    if (i >= states) {
      ctx.setType(i, stacked(ctx, outputs[i] ?? null, outAxes?.[i - states] ?? 0, steps, batch));
      continue;
    }
    const t = carried[i] ?? null;
    ctx.setType(
      i,
      batched && t?.kind === "tensor" && t.shape !== null ? tensorType(t.dtype, [...batch, ...t.shape]) : t,
    );
  }
}

/** Operators that run subgraphs. */
export const controlFlowOps: readonly OpSpec[] = [
  {
    op: "If",
    domain: "",
    versions: VERSIONS,
    inputs: count(1),
    outputs: count(1, MANY),
    traits: ["control-flow"],
    infer: inferIf,
  },
  {
    op: "Loop",
    domain: "",
    versions: VERSIONS,
    inputs: count(2, MANY),
    outputs: count(1, MANY),
    traits: ["control-flow"],
    infer: inferLoop,
  },
  {
    op: "Scan",
    domain: "",
    versions: [8, 9, ...VERSIONS.filter((v) => v >= 11 && v !== 13)],
    inputs: count(1, MANY),
    outputs: count(1, MANY),
    traits: ["control-flow"],
    infer: inferScan,
  },
];
