import { divDim, isUnknown, mulDim, productDim } from "../dim.ts";
import type { Dim, Shape } from "../types.ts";
import { broadcastData, followedSize, passData, rearrangeData } from "./data-rules.ts";
import {
  axesOf,
  broadcast,
  count,
  freshShape,
  normalizeAxes,
  sameAs,
  setRank,
  vectorLength,
} from "./shape-rules.ts";
import type { InferContext, OpSpec, OpTrait } from "./spec.ts";

const MOVES: readonly OpTrait[] = ["moves-data"];
const SHAPE_INPUT = [1] as const;

function inferShape(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, "i64", [ctx.fresh()]);
  const clamp = (x: number): number => Math.min(Math.max(x < 0 ? x + shape.length : x, 0), shape.length);
  const part = shape.slice(clamp(ctx.int("start", 0)), clamp(ctx.int("end", shape.length)));
  ctx.set(0, "i64", [part.length]);
  ctx.setData(0, part);
}

function inferSize(ctx: InferContext) {
  ctx.set(0, "i64", []);
  const shape = ctx.shape(0);
  if (shape !== null) ctx.setData(0, [productDim(shape)]);
}

/** The length that makes `dims` hold as many elements as `input`; `open` is left out of the product. */
function remaining(ctx: InferContext, input: readonly Dim[], dims: readonly Dim[], open: number): Dim {
  const others = productDim(dims.filter((_, i) => i !== open));
  const total = productDim(input);
  if (others === 0) return ctx.fresh();
  if (typeof others === "number" && typeof total === "number" && total % others !== 0) {
    ctx.invalid(
      `cannot reshape [${input.join(", ")}] to [${dims.join(", ")}]: ${others} does not divide ${total}`,
    );
  }
  return divDim(total, others);
}

/** Resolves the 0 and -1 of a Reshape target. An element inference knows nothing of is solved for like a -1. */
function resolveReshape(ctx: InferContext, input: Shape, target: readonly Dim[]): readonly Dim[] | null {
  const allowZero = ctx.int("allowzero", 0) !== 0;
  const dims: Dim[] = [];
  let open = -1;
  let unknowns = 0;
  let unknownAt = -1;
  for (const [i, d] of target.entries()) {
    if (d === 0 && !allowZero) {
      if (input !== null && i >= input.length) {
        ctx.invalid(`target [${target.join(", ")}] copies axis ${i} of a tensor of rank ${input.length}`);
        return null;
      }
      dims.push(input?.[i] ?? ctx.fresh());
    } else if (d === -1) {
      if (open >= 0) {
        ctx.invalid(`target [${target.join(", ")}] has more than one -1`);
        return null;
      }
      open = i;
      dims.push(d);
    } else if (typeof d === "number" && d < 0) {
      ctx.invalid(`target [${target.join(", ")}] has a negative length`);
      return null;
    } else {
      if (isUnknown(d)) {
        unknowns++;
        unknownAt = i;
      }
      dims.push(d);
    }
  }
  if (open < 0 && unknowns === 1) open = unknownAt;
  if (open >= 0) dims[open] = input === null ? ctx.fresh() : remaining(ctx, input, dims, open);
  else if (input !== null) {
    const [from, to] = [productDim(input), productDim(dims)];
    if (typeof from === "number" && typeof to === "number" && from !== to)
      ctx.invalid(
        `cannot reshape [${input.join(", ")}] to [${dims.join(", ")}]: ${from} elements are not ${to}`,
      );
  }
  return dims;
}

function inferReshape(ctx: InferContext) {
  const target = ctx.opset < 5 ? (ctx.ints_("shape") ?? null) : ctx.data(1);
  if (target === null) return setRank(ctx, 0, ctx.dtype(0), vectorLength(ctx, 1));
  const shape = resolveReshape(ctx, ctx.shape(0), target);
  ctx.set(0, ctx.dtype(0), shape);
  passData(ctx);
}

function inferFlatten(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return setRank(ctx, 0, ctx.dtype(0), 2);
  const raw = ctx.int("axis", 1);
  const axis = raw < 0 ? raw + shape.length : raw;
  if (axis < 0 || axis > shape.length) return ctx.invalid(`axis ${raw} does not fit rank ${shape.length}`);
  ctx.set(0, ctx.dtype(0), [productDim(shape.slice(0, axis)), productDim(shape.slice(axis))]);
  passData(ctx);
}

function inferTranspose(ctx: InferContext) {
  const shape = ctx.shape(0);
  const given = ctx.ints_("perm");
  if (shape === null) return setRank(ctx, 0, ctx.dtype(0), given?.length ?? null);
  const perm = given ?? shape.map((_, i) => shape.length - 1 - i);
  const axes = normalizeAxes(perm, shape.length);
  if (axes === null || axes.length !== shape.length)
    return ctx.invalid(`perm [${perm.join(", ")}] is no permutation of ${shape.length} axes`);
  const out = axes.map((a) => shape[a]!);
  ctx.set(0, ctx.dtype(0), out);
  const inverse = axes.map((_, a) => axes.indexOf(a));
  rearrangeData(ctx, out, (index, axis) => index[inverse[axis]!]!);
}

function inferSqueeze(ctx: InferContext) {
  const shape = ctx.shape(0);
  const axes = axesOf(ctx, 1);
  passData(ctx);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  if (axes === undefined) {
    // Without axes every 1 goes; a symbol that may be 1 leaves the rank open.
    const known = shape.every((d) => typeof d === "number");
    return ctx.set(0, ctx.dtype(0), known ? shape.filter((d) => d !== 1) : null);
  }
  if (axes === null) {
    const n = vectorLength(ctx, 1);
    return setRank(ctx, 0, ctx.dtype(0), n === null || n > shape.length ? null : shape.length - n);
  }
  const drop = normalizeAxes(axes, shape.length);
  if (drop === null) return ctx.invalid(`axes [${axes.join(", ")}] do not fit rank ${shape.length}`);
  const bad = drop.find((a) => typeof shape[a] === "number" && shape[a] !== 1);
  if (bad !== undefined) return ctx.invalid(`axis ${bad} has length ${shape[bad]}, only 1 can be squeezed`);
  ctx.set(
    0,
    ctx.dtype(0),
    shape.filter((_, i) => !drop.includes(i)),
  );
}

function inferUnsqueeze(ctx: InferContext) {
  const shape = ctx.shape(0);
  const axes = axesOf(ctx, 1);
  passData(ctx);
  if (axes === undefined) return ctx.invalid("axes are missing");
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  if (axes === null) {
    const n = vectorLength(ctx, 1);
    return setRank(ctx, 0, ctx.dtype(0), n === null ? null : shape.length + n);
  }
  const rank = shape.length + axes.length;
  const insert = normalizeAxes(axes, rank);
  if (insert === null) return ctx.invalid(`axes [${axes.join(", ")}] do not fit rank ${rank}`);
  let next = 0;
  ctx.set(
    0,
    ctx.dtype(0),
    Array.from({ length: rank }, (_, i) => (insert.includes(i) ? 1 : shape[next++]!)),
  );
}

/**
 * The input with axes that the target names as 1. A symbol that is expanded to another symbol stands for 1 or for the
 * same length: exporters expand a timestep to the batch this way.
 */
function stretched(shape: readonly Dim[], target: readonly Dim[]): readonly Dim[] {
  const shift = target.length - shape.length;
  return shape.map((d, i) => {
    const t = target[i + shift];
    return typeof d === "string" && typeof t === "string" && !isUnknown(t) ? t : d;
  });
}

function inferExpand(ctx: InferContext) {
  const target = ctx.data(1);
  const shape = ctx.shape(0);
  if (target === null) {
    const n = vectorLength(ctx, 1);
    if (n === null || shape === null) return ctx.set(0, ctx.dtype(0), null);
    // Axes longer than 1 keep their length whatever the target says.
    return ctx.set(0, ctx.dtype(0), broadcast(ctx, [shape, freshShape(ctx, n)]));
  }
  if (target.some((d) => typeof d === "number" && d < 0))
    return ctx.invalid(`target [${target.join(", ")}] has a negative length`);
  const out = broadcast(ctx, [shape === null ? null : stretched(shape, target), target]);
  ctx.set(0, ctx.dtype(0), out);
  const data = ctx.data(0);
  if (data === null || followedSize(out) === null || followedSize(shape) !== data.length) return;
  ctx.setData(0, broadcastData(data, shape as readonly number[], out as readonly number[]));
}

function inferTile(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return setRank(ctx, 0, ctx.dtype(0), ctx.opset < 6 ? null : vectorLength(ctx, 1));
  if (ctx.opset < 6) {
    const [tiles, axis] = [ctx.data(1)?.[0], ctx.ints(2)?.[0]];
    if (tiles === undefined || axis === undefined) return setRank(ctx, 0, ctx.dtype(0), shape.length);
    return ctx.set(
      0,
      ctx.dtype(0),
      shape.map((d, i) => (i === axis ? mulDim(d, tiles) : d)),
    );
  }
  const repeats = ctx.data(1);
  if (repeats === null) return setRank(ctx, 0, ctx.dtype(0), shape.length);
  if (repeats.length !== shape.length)
    return ctx.invalid(`${repeats.length} repeats for a tensor of rank ${shape.length}`);
  const out = shape.map((d, i) => mulDim(d, repeats[i]!));
  ctx.set(0, ctx.dtype(0), out);
  if (followedSize(out) !== null)
    rearrangeData(ctx, out, (index, axis) => index[axis]! % (shape[axis] as number));
}

const base = { domain: "", outputs: count(1) } as const;

/** Operators that ask for or change the shape of a tensor and keep its elements. */
export const layoutOps: readonly OpSpec[] = [
  {
    ...base,
    op: "Identity",
    versions: [1, 13, 14, 16, 19, 21, 23, 24, 25],
    inputs: count(1),
    traits: ["moves-data", "elementwise"],
    infer(ctx) {
      sameAs(ctx, 0);
      passData(ctx);
    },
    flops: () => 0,
  },
  { ...base, op: "Shape", versions: [1, 13, 15, 19, 21, 23, 24, 25], inputs: count(1), infer: inferShape },
  { ...base, op: "Size", versions: [1, 13, 19, 21, 23, 24, 25], inputs: count(1), infer: inferSize },
  {
    ...base,
    op: "Reshape",
    versions: [1, 5, 13, 14, 19, 21, 23, 24, 25],
    inputs: count(1, 2),
    traits: MOVES,
    shapeInputs: SHAPE_INPUT,
    infer: inferReshape,
  },
  {
    ...base,
    op: "Flatten",
    versions: [1, 9, 11, 13, 21, 23, 24, 25],
    inputs: count(1),
    traits: MOVES,
    infer: inferFlatten,
  },
  {
    ...base,
    op: "Transpose",
    versions: [1, 13, 21, 23, 24, 25],
    inputs: count(1),
    traits: MOVES,
    infer: inferTranspose,
  },
  {
    ...base,
    op: "Squeeze",
    versions: [1, 11, 13, 21, 23, 24, 25],
    inputs: count(1, 2),
    traits: MOVES,
    shapeInputs: SHAPE_INPUT,
    infer: inferSqueeze,
  },
  {
    ...base,
    op: "Unsqueeze",
    versions: [1, 11, 13, 21, 23, 24, 25],
    inputs: count(1, 2),
    traits: MOVES,
    shapeInputs: SHAPE_INPUT,
    infer: inferUnsqueeze,
  },
  {
    ...base,
    op: "Expand",
    versions: [8, 13],
    inputs: count(2),
    traits: MOVES,
    shapeInputs: SHAPE_INPUT,
    infer: inferExpand,
  },
  {
    ...base,
    op: "Tile",
    versions: [1, 6, 13],
    inputs: count(2, 3),
    traits: MOVES,
    shapeInputs: [1, 2],
    infer: inferTile,
  },
];
