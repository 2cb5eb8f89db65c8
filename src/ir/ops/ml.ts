import type { DType } from "../dtype.ts";
import type { Dim, ValueType } from "../types.ts";
import { count, MANY, sameAs } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

const DOMAIN = "ai.onnx.ml";

function ml(
  op: string,
  versions: readonly number[],
  infer: (ctx: InferContext) => void,
  inputs = count(1),
  outputs = count(1),
): OpSpec {
  return { op, domain: DOMAIN, versions, inputs, outputs, infer };
}

/** Length of a list attribute; `null` when it is absent or empty. */
function listLength(ctx: InferContext, name: string): number | null {
  const a = ctx.attr(name);
  const lists = a?.kind === "ints" || a?.kind === "floats" || a?.kind === "strings";
  return lists && a.value.length > 0 ? a.value.length : null;
}

/** Rows of a [N, C] (or [C]) table. */
function rows(ctx: InferContext): Dim {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.fresh();
  return shape.length === 1 ? 1 : (shape[0] ?? 1);
}

/** Labels and scores of a classifier: labels have the type of the label list that is given. */
function classifier(labels: {
  readonly strings: string;
  readonly ints: string;
}): (ctx: InferContext) => void {
  return (ctx) => {
    const text = listLength(ctx, labels.strings);
    const n = rows(ctx);
    const classes = text ?? listLength(ctx, labels.ints);
    ctx.set(0, text !== null ? "string" : "i64", [n]);
    // Two classes may come from one score column, so the count of columns is only a hint for more than two.
    ctx.set(1, "f32", [n, classes ?? ctx.fresh()]);
  };
}

function regressor(ctx: InferContext): void {
  ctx.set(0, "f32", [rows(ctx), ctx.int("targets", ctx.int("n_targets", 1))]);
}

function floatsLike(ctx: InferContext): void {
  ctx.set(0, "f32", ctx.shape(0));
}

/** What a label list of each attribute prefix holds. */
const LABEL_TYPES: readonly (readonly [attr: string, dtype: DType])[] = [
  ["values_strings", "string"],
  ["values_int64s", "i64"],
  ["values_floats", "f32"],
];

function labelEncoder(ctx: InferContext): void {
  const shape = ctx.shape(0);
  if (ctx.opset < 2) {
    ctx.set(0, ctx.dtype(0) === "string" ? "i64" : "string", shape);
    return;
  }
  const tensor = ctx.attr("values_tensor");
  if (tensor?.kind === "tensor") {
    ctx.set(0, tensor.value.dtype, shape);
    return;
  }
  ctx.set(0, LABEL_TYPES.find(([attr]) => listLength(ctx, attr) !== null)?.[1] ?? null, shape);
}

function featureVectorizer(ctx: InferContext): void {
  const widths = ctx.ints_("inputdimensions");
  ctx.set(0, "f32", [rows(ctx), widths === undefined ? ctx.fresh() : widths.reduce((a, b) => a + b, 0)]);
}

function oneHot(ctx: InferContext): void {
  const shape = ctx.shape(0);
  const classes = listLength(ctx, "cats_int64s") ?? listLength(ctx, "cats_strings");
  ctx.set(0, "f32", shape === null ? null : [...shape, classes ?? ctx.fresh()]);
}

function zipMap(ctx: InferContext): void {
  const key: DType = listLength(ctx, "classlabels_strings") !== null ? "string" : "i64";
  const value: ValueType = { kind: "tensor", dtype: "f32", shape: [] };
  ctx.setType(0, { kind: "sequence", element: { kind: "map", key, value } });
}

const CAST_TO: Readonly<Record<string, DType>> = { TO_FLOAT: "f32", TO_STRING: "string", TO_INT64: "i64" };

/** Classical machine learning, domain `ai.onnx.ml`. */
export const mlOps: readonly OpSpec[] = [
  ml(
    "ArrayFeatureExtractor",
    [1],
    (ctx) => {
      const [x, y] = [ctx.shape(0), ctx.shape(1)];
      const picked = y === null ? ctx.fresh() : (y.at(-1) ?? 1);
      ctx.set(
        0,
        ctx.dtype(0),
        x === null ? null : x.length === 1 ? [1, picked] : [...x.slice(0, -1), picked],
      );
    },
    count(2),
  ),
  ml("Binarizer", [1], (ctx) => sameAs(ctx, 0)),
  ml("CastMap", [1], (ctx) => ctx.set(0, CAST_TO[ctx.str("cast_to", "TO_FLOAT")] ?? null, [1, ctx.fresh()])),
  ml("CategoryMapper", [1], (ctx) => ctx.set(0, ctx.dtype(0) === "string" ? "i64" : "string", ctx.shape(0))),
  ml("DictVectorizer", [1], (ctx) => {
    const t = ctx.type(0);
    const value = t?.kind === "map" && t.value.kind === "tensor" ? t.value.dtype : null;
    const width = listLength(ctx, "string_vocabulary") ?? listLength(ctx, "int64_vocabulary");
    ctx.set(0, value, [1, width ?? ctx.fresh()]);
  }),
  ml("FeatureVectorizer", [1], featureVectorizer, count(1, MANY)),
  ml("Imputer", [1], (ctx) => sameAs(ctx, 0)),
  ml("LabelEncoder", [1, 2, 4], labelEncoder),
  ml(
    "LinearClassifier",
    [1],
    classifier({ strings: "classlabels_strings", ints: "classlabels_ints" }),
    count(1),
    count(2),
  ),
  ml("LinearRegressor", [1], regressor),
  ml("Normalizer", [1], floatsLike),
  ml("OneHotEncoder", [1], oneHot),
  ml(
    "SVMClassifier",
    [1],
    classifier({ strings: "classlabels_strings", ints: "classlabels_ints" }),
    count(1),
    count(2),
  ),
  ml("SVMRegressor", [1], regressor),
  ml("Scaler", [1], floatsLike),
  ml("TreeEnsemble", [5], (ctx) => ctx.set(0, ctx.dtype(0), [rows(ctx), ctx.int("n_targets", 1)])),
  ml(
    "TreeEnsembleClassifier",
    [1, 3, 5],
    classifier({ strings: "classlabels_strings", ints: "classlabels_int64s" }),
    count(1),
    count(2),
  ),
  ml("TreeEnsembleRegressor", [1, 3, 5], regressor),
  ml("ZipMap", [1], zipMap),
];
