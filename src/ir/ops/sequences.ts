import type { Dim, ValueType } from "../types.ts";
import { tensorType } from "../types.ts";
import { axisAttr, count, hasInput, MANY, normalizeAxis } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";
import { dtypeAttr, joinTypes } from "./type-rules.ts";

function elementOf(ctx: InferContext, i: number): ValueType | null {
  const t = ctx.type(i);
  if (t === null || t.kind === "sequence") return t?.element ?? null;
  ctx.invalid(`input ${i} is a ${t.kind}, expected a sequence`);
  return null;
}

function setSequence(ctx: InferContext, element: ValueType | null): void {
  ctx.setType(0, element === null ? null : { kind: "sequence", element });
}

function splitToSequence(ctx: InferContext): void {
  const dtype = ctx.dtype(0);
  const shape = ctx.shape(0);
  if (dtype === null) return;
  if (shape === null) {
    setSequence(ctx, tensorType(dtype, null));
    return;
  }
  const axis = axisAttr(ctx, shape.length, 0);
  if (axis === null) return;
  if (!hasInput(ctx, 1)) {
    const keep = ctx.int("keepdims", 1) !== 0;
    setSequence(ctx, tensorType(dtype, keep ? shape.with(axis, 1) : shape.filter((_, i) => i !== axis)));
    return;
  }
  const split = ctx.ints(1);
  const length = shape[axis];
  let part: Dim | null = null;
  if (split !== null && split.length > 0) {
    const first = split[0] ?? 0;
    const even = split.every((s) => s === first);
    const whole = ctx.shape(1)?.length !== 0 || (typeof length === "number" && length % first === 0);
    if (even && whole) part = first;
  }
  setSequence(ctx, tensorType(dtype, shape.with(axis, part ?? ctx.fresh())));
}

function concatFromSequence(ctx: InferContext): void {
  const element = elementOf(ctx, 0);
  if (element?.kind !== "tensor") return;
  if (element.shape === null) {
    ctx.set(0, element.dtype, null);
    return;
  }
  const fresh = ctx.int("new_axis", 0) !== 0;
  const rank = element.shape.length + (fresh ? 1 : 0);
  const raw = ctx.int("axis", 0);
  const axis = normalizeAxis(raw, rank);
  if (axis === null) {
    ctx.invalid(`axis ${raw} is out of range for rank ${rank}`);
    return;
  }
  const shape = [...element.shape];
  shape.splice(axis, fresh ? 0 : 1, ctx.fresh());
  ctx.set(0, element.dtype, shape);
}

function sequenceMap(ctx: InferContext): void {
  const body = ctx.attr("body");
  if (body?.kind !== "graph") {
    ctx.invalid("attribute body is not a graph");
    return;
  }
  const inputs = ctx.node.inputs.map((_, i) => {
    const t = ctx.type(i);
    return t?.kind === "sequence" ? t.element : t;
  });
  const outputs = ctx.subgraph(body.value, inputs);
  for (let i = 0; i < ctx.node.outputs.length; i++) {
    const element = outputs[i] ?? null;
    ctx.setType(i, element === null ? null : { kind: "sequence", element });
  }
}

/** Operators on sequences of tensors. */
export const sequencesOps: readonly OpSpec[] = [
  {
    op: "SequenceEmpty",
    domain: "",
    versions: [11],
    inputs: count(0),
    outputs: count(1),
    infer: (ctx) => setSequence(ctx, tensorType(dtypeAttr(ctx, "dtype", "f32") ?? "f32", null)),
  },
  {
    op: "SequenceConstruct",
    domain: "",
    versions: [11],
    inputs: count(1, MANY),
    outputs: count(1),
    infer: (ctx) => {
      let element = ctx.type(0);
      for (let i = 1; i < ctx.node.inputs.length; i++) element = joinTypes(ctx, element, ctx.type(i));
      setSequence(ctx, element);
    },
  },
  {
    op: "SequenceAt",
    domain: "",
    versions: [11],
    inputs: count(2),
    outputs: count(1),
    shapeInputs: [1],
    infer: (ctx) => ctx.setType(0, elementOf(ctx, 0)),
  },
  {
    op: "SequenceInsert",
    domain: "",
    versions: [11],
    inputs: count(2, 3),
    outputs: count(1),
    shapeInputs: [2],
    infer: (ctx) => setSequence(ctx, joinTypes(ctx, elementOf(ctx, 0), ctx.type(1))),
  },
  {
    op: "SequenceErase",
    domain: "",
    versions: [11],
    inputs: count(1, 2),
    outputs: count(1),
    shapeInputs: [1],
    infer: (ctx) => setSequence(ctx, elementOf(ctx, 0)),
  },
  {
    op: "SequenceLength",
    domain: "",
    versions: [11],
    inputs: count(1),
    outputs: count(1),
    infer: (ctx) => ctx.set(0, "i64", []),
  },
  {
    op: "SplitToSequence",
    domain: "",
    versions: [11, 24],
    inputs: count(1, 2),
    outputs: count(1),
    shapeInputs: [1],
    infer: splitToSequence,
  },
  {
    op: "ConcatFromSequence",
    domain: "",
    versions: [11],
    inputs: count(1),
    outputs: count(1),
    infer: concatFromSequence,
  },
  {
    op: "SequenceMap",
    domain: "",
    versions: [17],
    inputs: count(1, MANY),
    outputs: count(1, MANY),
    traits: ["control-flow"],
    infer: sequenceMap,
  },
];
