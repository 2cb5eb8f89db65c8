import { createHash } from "node:crypto";
import type { Oracle, Statistics, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import type { Anatomy } from "../../../ir/anatomy/index.ts";
import { ModelBuilder } from "../../../ir/build.ts";
import { DTYPES } from "../../../ir/dtype.ts";
import type { Dense, Evaluator } from "../../../ir/evaluator.ts";
import { type Graph, intAttr, type NodeId, type ValueId } from "../../../ir/graph.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../../ir/tensor.ts";
import { tensorType } from "../../../ir/types.ts";
import { asF32 } from "../../../runtime/kernels/elements.ts";
import type { Site } from "./sites.ts";

/** Axis of tokens in `[batch, tokens, channels]`. */
const TOKENS = 1;

/** Key and value layers of cross-attention that read the text straight from a graph input. */
export function textLayers(found: Anatomy): ReadonlySet<NodeId> {
  const texts = new Set(found.inputs.filter((i) => i.role === "encoder-states").map((i) => i.value));
  const nodes = new Set<NodeId>();
  for (const p of found.parts)
    if (p.kind === "attention" && p.sees === "cross")
      for (const n of [...p.k, ...p.v]) {
        const layer = found.layer(n);
        if (layer !== undefined && texts.has(layer.input)) nodes.add(n);
      }
  return nodes;
}

/** Statistics of text layers without the first token, and what that token is. */
export interface RestStatistics extends Statistics {
  /** Mean of the first token of an input per channel: the token itself where all texts start alike. */
  first(name: string): Float64Array | undefined;
}

/** Distinct inputs of a trajectory taken apart. */
interface Texts {
  /** All tokens but the first, `[rows, channels]`. */
  readonly rest: Dense;
  readonly first: Float64Array;
}

/** `null` where an input has no token but the first. */
function textsOf(oracle: Oracle, name: string): Texts | null {
  const seen = new Set<string>();
  const [parts, firsts]: [Float32Array[], Float32Array[]] = [[], []];
  let channels = 0;
  for (const call of oracle.calls) {
    const feed = call.feeds.get(name);
    const [batch, tokens, width] = feed?.dims ?? [];
    if (feed === undefined || width === undefined || tokens! < 2) return null;
    const key = createHash("sha256").update(feed.bytes).digest("hex");
    if (seen.has(key)) continue;
    seen.add(key);
    channels = width;
    const x = asF32(feed);
    for (let b = 0; b < batch!; b++) {
      firsts.push(x.subarray(b * tokens! * width, (b * tokens! + 1) * width));
      parts.push(x.subarray((b * tokens! + 1) * width, (b + 1) * tokens! * width));
    }
  }
  if (parts.length === 0) return null;
  const all = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  const t = f32Tensor(all);
  if (t.source.kind !== "inline") throw new Error("numbers at hand are inline");
  const first = Float64Array.from({ length: channels }, (_, c) =>
    firsts.reduce((sum, x) => sum + x[c]! / firsts.length, 0),
  );
  return { rest: { dtype: "f32", dims: [all.length / channels, channels], bytes: t.source.bytes }, first };
}

/** Statistics of rows that are the same at every call. */
function tabulate(
  rows: Dense,
  o: { readonly name: string; readonly calls: number; readonly keep: number },
): ValueStatistics {
  const [count, channels] = rows.dims as [number, number];
  const x = asF32(rows);
  const one = (fill: number): Float64Array => new Float64Array(channels).fill(fill);
  const [min, max, mean, square] = [
    one(Number.POSITIVE_INFINITY),
    one(Number.NEGATIVE_INFINITY),
    one(0),
    one(0),
  ];
  for (const [i, v] of x.entries()) {
    const c = i % channels;
    min[c] = Math.min(min[c]!, v);
    max[c] = Math.max(max[c]!, v);
    mean[c] = mean[c]! + v / count;
    square[c] = square[c]! + (v * v) / count;
  }
  const kept = Math.min(o.keep, count);
  const sample = new Float32Array(o.calls * kept * channels);
  for (let t = 0; t < o.calls; t++)
    for (let r = 0; r < kept; r++) {
      const from = Math.floor((r * count) / kept) * channels;
      sample.set(x.subarray(from, from + channels), (t * kept + r) * channels);
    }
  const every = (v: Float64Array): Float64Array =>
    Float64Array.from({ length: o.calls * channels }, (_, i) => v[i % channels]!);
  return {
    name: o.name,
    channels,
    count,
    min: every(min),
    max: every(max),
    mean: every(mean),
    square: every(square),
    rows: kept,
    sample,
  };
}

/** What a layer makes of rows, its bias included. */
async function product(rows: Dense, weight: Tensor, bias: Tensor | null, run: Evaluator): Promise<Dense> {
  const b = new ModelBuilder({ opset: 17 });
  const float = (t: Tensor): ValueId => b.node("Cast", [b.constant(t)], { to: DTYPES.f32.onnx });
  const [count, width] = [rows.dims[0]!, weight.dims[1]!];
  const y = b.node("MatMul", [b.input("x", "f32", [...rows.dims]), float(weight)]);
  const out = bias === null ? y : b.node("Add", [y, float(bias)]);
  const model = b.output(out, "y", tensorType("f32", [count, width])).build();
  return (await run.run(model, new Map([["x", rows]]))).get("y")!;
}

/**
 * Statistics of what text layers read and make without the first token, from the inputs of the trajectory themselves.
 * Values whose inputs have a single token are missing.
 */
export async function restStatistics(
  sites: readonly Site[],
  o: {
    readonly graph: Graph;
    readonly oracle: Oracle;
    readonly evaluator: Evaluator;
    /** Positions kept per call. */
    readonly keep: number;
  },
): Promise<RestStatistics> {
  const { graph, oracle, evaluator, keep } = o;
  const calls = oracle.calls.length;
  const found = new Map<string, ValueStatistics>();
  const firsts = new Map<string, Float64Array>();
  for (const site of sites) {
    const texts = textsOf(oracle, site.name);
    if (texts === null) continue;
    const { rest: rows, first } = texts;
    firsts.set(site.name, first);
    found.set(site.name, tabulate(rows, { name: site.name, calls, keep }));
    for (const l of site.layers) {
      const { name } = graph.value(l.output);
      found.set(name, tabulate(await product(rows, l.weight, l.bias, evaluator), { name, calls, keep }));
    }
  }
  return {
    calls: oracle.calls,
    value: (name) => found.get(name),
    gram: () => undefined,
    first: (name) => firsts.get(name),
  };
}

function tokens(patch: PatchBuilder, x: ValueId, from: number, until: number): ValueId {
  const bounds = [[from], [until], [TOKENS]].map((v) => patch.constant(i64Tensor(v), "tokens"));
  return patch.node({
    op: "Slice",
    name: `t${x}/${from === 0 ? "first" : "rest"}`,
    inputs: [x, ...bounds],
  })[0];
}

/** All tokens but the first. */
export function restOf(patch: PatchBuilder, x: ValueId): ValueId {
  return tokens(patch, x, 1, Number.MAX_SAFE_INTEGER);
}

/** A layer's integers and what they stand for. */
export interface StoredWeight {
  readonly data: Tensor;
  /** One per output. */
  readonly scale: ArrayLike<number>;
  readonly zero: number;
}

/**
 * Puts the first token, multiplied in float with the weight that is stored anyway, in front of the others. The weight is
 * widened by Cast and Mul, which runtimes fold when they load the model; a DequantizeLinear could make one of them
 * quantize the token after all.
 */
export function withFirst(
  patch: PatchBuilder,
  rest: ValueId,
  o: {
    readonly x: ValueId;
    readonly weight: StoredWeight;
    readonly bias: ArrayLike<number> | null;
    readonly name: string;
  },
): ValueId {
  const { name, weight } = o;
  const node = (op: string, tail: string, inputs: readonly ValueId[], attrs = {}): ValueId =>
    patch.node({ op, name: `${name}/${tail}`, inputs, attrs })[0];
  let w = node("Cast", "cast", [patch.constant(weight.data, `${name}.q`)], { to: intAttr(DTYPES.f32.onnx) });
  if (weight.zero !== 0) w = node("Sub", "centre", [w, patch.constant(f32Tensor([weight.zero]), "z")]);
  w = node("Mul", "scale", [w, patch.constant(f32Tensor(weight.scale), `${name}.s`)]);
  const y = node("MatMul", "first", [tokens(patch, o.x, 0, 1), w]);
  const biased =
    o.bias === null ? y : node("Add", "bias", [y, patch.constant(f32Tensor(o.bias), `${name}.b`)]);
  return node("Concat", "tokens", [biased, rest], { axis: intAttr(TOKENS) });
}
