import type { Dim } from "../types.ts";
import { broadcast, count, shapeOfRank } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

function normalize(ctx: InferContext): void {
  const shape = shapeOfRank(ctx, 0, 1, 2);
  // Removed stop words shorten the last axis.
  const stops = ctx.attr("stopwords");
  const removes = stops?.kind === "strings" && stops.value.length > 0;
  if (shape === null || !removes) {
    ctx.set(0, "string", shape);
    return;
  }
  ctx.set(0, "string", shape.with(-1, ctx.fresh()));
}

function tfidf(ctx: InferContext): void {
  const shape = shapeOfRank(ctx, 0, 1, 2);
  const indexes = ctx.ints_("ngram_indexes");
  let columns: Dim = ctx.fresh();
  if (indexes !== undefined && indexes.length > 0)
    columns = indexes.reduce((most, i) => Math.max(most, i + 1), 0);
  ctx.set(0, "f32", shape === null ? null : [...shape.slice(0, -1), columns]);
}

/** Text operators. */
export const stringsOps: readonly OpSpec[] = [
  {
    op: "StringNormalizer",
    domain: "",
    versions: [10],
    inputs: count(1),
    outputs: count(1),
    infer: normalize,
  },
  {
    op: "StringConcat",
    domain: "",
    versions: [20],
    inputs: count(2),
    outputs: count(1),
    traits: ["elementwise"],
    infer: (ctx) => ctx.set(0, "string", broadcast(ctx, [ctx.shape(0), ctx.shape(1)])),
    flops: () => 0,
  },
  {
    op: "StringSplit",
    domain: "",
    versions: [20],
    inputs: count(1),
    outputs: count(2),
    infer: (ctx) => {
      const shape = ctx.shape(0);
      ctx.set(0, "string", shape === null ? null : [...shape, ctx.fresh()]);
      ctx.set(1, "i64", shape);
    },
  },
  {
    op: "RegexFullMatch",
    domain: "",
    versions: [20],
    inputs: count(1),
    outputs: count(1),
    traits: ["elementwise"],
    infer: (ctx) => ctx.set(0, "bool", ctx.shape(0)),
    flops: () => 0,
  },
  {
    op: "TfIdfVectorizer",
    domain: "",
    versions: [9],
    inputs: count(1),
    outputs: count(1),
    infer: tfidf,
  },
];
