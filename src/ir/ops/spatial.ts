import { divDim, floorDim, mulDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { count, elements, hasInput, normalizeAxes, sameAs, setRank, shapeOfRank } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec, OpTrait } from "./spec.ts";

const MOVES: readonly OpTrait[] = ["moves-data"];

function inferDepthToSpace(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 4, 4);
  const b = ctx.int("blocksize", 0);
  if (b < 1) return ctx.invalid(`blocksize is ${b}`);
  if (shape === null) return setRank(ctx, 0, ctx.dtype(0), 4);
  const [n, c, h, w] = shape as readonly [Dim, Dim, Dim, Dim];
  if (typeof c === "number" && c % (b * b) !== 0)
    return ctx.invalid(`${c} channels are no multiple of ${b * b}`);
  ctx.set(0, ctx.dtype(0), [n, divDim(c, b * b), mulDim(h, b), mulDim(w, b)]);
}

function inferSpaceToDepth(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 4, 4);
  const b = ctx.int("blocksize", 0);
  if (b < 1) return ctx.invalid(`blocksize is ${b}`);
  if (shape === null) return setRank(ctx, 0, ctx.dtype(0), 4);
  const [n, c, h, w] = shape as readonly [Dim, Dim, Dim, Dim];
  for (const d of [h, w])
    if (typeof d === "number" && d % b !== 0) return ctx.invalid(`${d} is no multiple of ${b}`);
  ctx.set(0, ctx.dtype(0), [n, mulDim(c, b * b), divDim(h, b), divDim(w, b)]);
}

/** `floor(dim * scale)` in float32, as the runtime computes it. */
function scaled(ctx: InferContext, dim: Dim, scale: Dim): Dim {
  if (typeof dim === "number" && typeof scale === "number") return Math.floor(Math.fround(dim * scale));
  if (typeof scale === "number" && !Number.isInteger(scale * 4096)) return ctx.fresh();
  return floorDim(mulDim(dim, scale));
}

function inferUpsample(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const attr = ctx.attr("scales");
  let scales: readonly Dim[] | null = attr?.kind === "floats" ? attr.value : null;
  if (scales === null && ctx.opset < 7) {
    scales = [1, 1, ctx.float("height_scale", 1), ctx.float("width_scale", 1)];
  }
  scales ??= ctx.data(1);
  if (scales === null) return setRank(ctx, 0, ctx.dtype(0), shape.length);
  if (scales.length !== shape.length) return ctx.invalid(`${scales.length} scales for rank ${shape.length}`);
  ctx.set(
    0,
    ctx.dtype(0),
    shape.map((d, i) => scaled(ctx, d, scales[i]!)),
  );
}

/** Sizes under `keep_aspect_ratio_policy`: one factor for all resized axes (Resize-18). */
function keepAspect(
  ctx: InferContext,
  dims: readonly Dim[],
  sizes: readonly Dim[],
  policy: string,
): readonly Dim[] {
  if (![...dims, ...sizes].every((d) => typeof d === "number")) return sizes.map(() => ctx.fresh());
  const factors = dims.map((d, i) => (sizes[i] as number) / (d as number));
  const factor = policy === "not_larger" ? Math.min(...factors) : Math.max(...factors);
  return dims.map((d) => Math.floor(factor * (d as number) + 0.5));
}

function inferResize(ctx: InferContext) {
  if (ctx.opset < 11) return inferUpsample(ctx);
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const axes = normalizeAxes(ctx.ints_("axes") ?? shape.map((_, i) => i), shape.length);
  if (axes === null) return ctx.invalid(`axes do not fit rank ${shape.length}`);
  const given = (i: number): boolean => hasInput(ctx, i) && ctx.shape(i)?.[0] !== 0;
  const bySize = given(3);
  const values = bySize ? ctx.data(3) : given(2) ? ctx.data(2) : null;
  const out = [...shape];
  if (values !== null && values.length !== axes.length)
    return ctx.invalid(`${values.length} ${bySize ? "sizes" : "scales"} for ${axes.length} axes`);
  const policy = ctx.str("keep_aspect_ratio_policy", "stretch");
  const dims = axes.map((a) => shape[a]!);
  const sizes =
    bySize && values !== null && policy !== "stretch" ? keepAspect(ctx, dims, values, policy) : values;
  for (const [i, axis] of axes.entries()) {
    if (sizes === null) out[axis] = ctx.fresh();
    else out[axis] = bySize ? sizes[i]! : scaled(ctx, shape[axis]!, sizes[i]!);
  }
  ctx.set(0, ctx.dtype(0), out);
}

/** Interpolation reads two points per resized axis in linear mode and four in cubic; nearest computes nothing. */
function resizeFlops(c: CostContext): number {
  const mode = c.node.attrs.get("mode");
  const name = mode?.kind === "string" ? new TextDecoder().decode(mode.value) : "nearest";
  const size = elements(c.outputs[0]) ?? 0;
  const axes = c.outputs[0]?.filter((d, i) => d !== c.inputs[0]?.[i]).length ?? 0;
  if (name === "nearest") return 0;
  return size * 2 * (name === "cubic" ? 4 : 2) ** axes;
}

function inferCenterCropPad(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const axes = normalizeAxes(ctx.ints_("axes") ?? shape.map((_, i) => i), shape.length);
  if (axes === null) return ctx.invalid(`axes do not fit rank ${shape.length}`);
  const target = ctx.data(1);
  if (target !== null && target.length !== axes.length)
    return ctx.invalid(`${target.length} lengths for ${axes.length} axes`);
  const out = [...shape];
  for (const [i, axis] of axes.entries()) out[axis] = target?.[i] ?? ctx.fresh();
  ctx.set(0, ctx.dtype(0), out);
}

const base = { domain: "", outputs: count(1) } as const;

/** Operators that move elements between channels and space or change the resolution. */
export const spatialOps: readonly OpSpec[] = [
  {
    ...base,
    op: "DepthToSpace",
    versions: [1, 11, 13],
    inputs: count(1),
    traits: MOVES,
    infer: inferDepthToSpace,
  },
  {
    ...base,
    op: "SpaceToDepth",
    versions: [1, 13],
    inputs: count(1),
    traits: MOVES,
    infer: inferSpaceToDepth,
  },
  {
    ...base,
    op: "Upsample",
    versions: [1, 7, 9, 10],
    inputs: count(1, 2),
    shapeInputs: [1],
    infer: inferUpsample,
    flops: resizeFlops,
  },
  {
    ...base,
    op: "Resize",
    versions: [10, 11, 13, 18, 19],
    inputs: count(1, 4),
    shapeInputs: [1, 2, 3],
    infer: inferResize,
    flops: resizeFlops,
  },
  {
    ...base,
    op: "CenterCropPad",
    versions: [18],
    inputs: count(2),
    traits: MOVES,
    shapeInputs: [1],
    infer: inferCenterCropPad,
  },
  {
    ...base,
    op: "ReverseSequence",
    versions: [10],
    inputs: count(2),
    traits: MOVES,
    infer: (ctx) => sameAs(ctx, 0),
  },
];
