import { count, shapeOfRank } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";
import { dtypeAttr } from "./type-rules.ts";

function generator(op: string): OpSpec {
  return {
    op,
    domain: "",
    versions: [1, 22],
    inputs: count(0),
    outputs: count(1),
    traits: ["nondeterministic"],
    infer: (ctx) => {
      const shape = ctx.ints_("shape");
      if (shape === undefined) ctx.invalid("attribute shape is missing");
      ctx.set(0, dtypeAttr(ctx, "dtype", "f32"), shape ?? null);
    },
  };
}

function like(op: string, versions: readonly number[]): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: count(1),
    outputs: count(1),
    traits: ["nondeterministic"],
    infer: (ctx: InferContext) => ctx.set(0, dtypeAttr(ctx, "dtype", ctx.dtype(0)), ctx.shape(0)),
  };
}

/** Operators that draw random numbers: never folded or merged. */
export const randomOps: readonly OpSpec[] = [
  generator("RandomNormal"),
  generator("RandomUniform"),
  like("RandomNormalLike", [1, 22]),
  like("RandomUniformLike", [1, 22]),
  like("Bernoulli", [15, 22]),
  {
    op: "Multinomial",
    domain: "",
    versions: [7, 22],
    inputs: count(1),
    outputs: count(1),
    traits: ["nondeterministic"],
    infer: (ctx) => {
      const shape = shapeOfRank(ctx, 0, 2);
      ctx.set(0, dtypeAttr(ctx, "dtype", "i32"), [shape?.[0] ?? ctx.fresh(), ctx.int("sample_size", 1)]);
    },
  },
];
