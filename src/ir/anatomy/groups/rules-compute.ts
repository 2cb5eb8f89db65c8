import { attrString } from "../../graph.ts";
import { parseEquation } from "../../ops/einsum.ts";
import type { Axes, Axis } from "./ledger.ts";
import {
  broadcast,
  from0,
  frozen,
  int,
  integers,
  outputShape,
  type Rule,
  type Rules,
  rankOf,
} from "./site.ts";

/** y = x · w over the last axis of x; leading axes are broadcast. Two activations multiplied head by head mark heads. */
const matmul: Rule = (s) => {
  const [a, b] = [s.axes(0), s.axes(1)];
  if (a === null || b === null || a.length < 2 || b.length < 2) return null;
  const [rows, inner] = [a.at(-2)!, a.at(-1)!];
  const [other, columns] = [b.at(-2)!, b.at(-1)!];
  s.ledger.same(inner, other, "summed over axes that are cut differently");
  const batch = broadcast(s, [a.slice(0, -2), b.slice(0, -2)]);
  const constant = s.graph.constant(s.node.inputs[0]) ?? s.graph.constant(s.node.inputs[1]);
  if (constant === null) s.ledger.heads.push(...batch.flat());
  const out = [...batch, rows, columns];
  s.work([...out, inner]);
  return [out];
};

const gemm: Rule = (s) => {
  const [a, b] = [s.axes(0), s.axes(1)];
  if (a === null || b === null) return null;
  const [rows, inner] = int(s, "transA", 0) === 0 ? [a[0]!, a[1]!] : [a[1]!, a[0]!];
  const [other, columns] = int(s, "transB", 0) === 0 ? [b[0]!, b[1]!] : [b[1]!, b[0]!];
  s.ledger.same(inner, other, "summed over axes that are cut differently");
  const c = s.axes(2);
  const out = c === null ? [rows, columns] : broadcast(s, [[rows, columns], c]);
  s.work([...out, inner]);
  return [out];
};

/** Output channels come from the weight; space is made anew. Depthwise convolutions keep the channels of the input. */
const conv: Rule = (s) => {
  const [x, w] = [s.axes(0), s.axes(1)];
  const shape = outputShape(s);
  if (x === null || w === null || shape === null) return null;
  const transposed = s.node.op === "ConvTranspose";
  const groups = int(s, "group", 1);
  const [inAxis, outAxis] = transposed ? [0, 1] : [1, 0];
  const space = frozen(s, shape.slice(2), "a spatial axis");
  const depthwise =
    !transposed && groups > 1 && w[1]!.length === 0 && shape[1] === groups && w[0]!.length > 0;
  if (groups !== 1 && !depthwise) return null;
  const out = w[outAxis]!;
  if (depthwise) {
    s.ledger.same(x[1]!, out, "a depthwise convolution of an axis cut differently");
    s.fix({ kind: "count", attr: "group", axis: out });
  } else s.ledger.same(x[1]!, w[inAxis]!, "summed over axes that are cut differently");
  const bias = s.axes(2);
  if (bias !== null) s.ledger.same(out, bias[0]!, "a bias of an axis cut differently");
  for (const k of w.slice(2)) s.ledger.freeze(k, "a kernel");
  const result = [x[0]!, out, ...space];
  s.work(depthwise ? result : [...result, x[1]!]);
  return [result];
};

/** Every label is one axis. */
const einsum: Rule = (s) => {
  const equation = parseEquation(attrString(s.node, "equation") ?? "");
  if (equation === null || equation.result.includes(".")) return null;
  const byLabel = new Map<string, Axis>();
  for (const [i, text] of equation.operands.entries()) {
    const x = s.axes(i);
    if (x === null || x.length !== text.length) return null;
    for (const [k, label] of [...text].entries()) {
      const known = byLabel.get(label);
      if (known === undefined || known.length === 0) byLabel.set(label, x[k]!);
      else if (x[k]!.length > 0) s.ledger.same(known, x[k]!, "an Einsum of axes that are cut differently");
    }
  }
  s.work([...byLabel.values()]);
  return [[...equation.result].map((label) => byLabel.get(label)!)];
};

/** Statistics over some axes; sums take nothing from what is removed, means and extremes do. */
const reduce: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  if (x === null || shape === null) return null;
  const given = integers(s, 1, "axes");
  const over = new Set((given ?? x.map((_, i) => i)).map((a) => from0(a, x.length)));
  for (const [i, a] of x.entries())
    if (over.has(i) && s.node.op !== "ReduceSum") s.ledger.mix(a, `${s.node.op} over it`);
  const kept = x.map((a, i): Axis => (over.has(i) ? [] : a));
  s.work(x);
  return [int(s, "keepdims", 1) === 1 ? kept : kept.filter((_, i) => !over.has(i))];
};

const softmax: Rule = (s) => {
  const x = s.axes(0);
  if (x === null) return null;
  s.ledger.freeze(x[from0(int(s, "axis", -1), x.length)]!, "a softmax runs over it");
  return [x];
};

/** Normalises the axes from `axis` on; scale and shift belong to them. */
const layerNorm: Rule = (s) => {
  const x = s.axes(0);
  if (x === null) return null;
  const axis = from0(int(s, "axis", -1), x.length);
  for (const a of x.slice(axis)) s.ledger.mix(a, `${s.node.op} over it`);
  const parameters = [1, 2].map((i) => s.axes(i)).filter((p): p is Axes => p !== null);
  const out = broadcast(s, [x, ...parameters]);
  return [out, ...s.node.outputs.slice(1).map(() => x.map((a, i): Axis => (i < axis ? a : [])))];
};

/** One statistic per element of axis 1, over space. */
const channelNorm: Rule = (s) => {
  const x = s.axes(0);
  if (x === null || s.node.outputs.length > 1) return null;
  if (s.node.op === "InstanceNormalization")
    for (const a of x.slice(2)) s.ledger.mix(a, `${s.node.op} over it`);
  for (let i = 1; i < s.node.inputs.length; i++)
    s.ledger.same(x[1]!, s.axes(i)?.[0] ?? [], "norm parameters of an axis cut differently");
  return [x];
};

/** Channels of a group share a statistic and move together. */
const groupNorm: Rule = (s) => {
  const x = s.axes(0);
  if (x === null) return null;
  const contrib = s.node.domain !== "";
  const attr = contrib ? "groups" : "num_groups";
  const groups = int(s, attr, 0);
  const at = contrib && int(s, "channels_last", 1) === 1 ? x.length - 1 : 1;
  const shape = outputShape(s);
  const channels = shape?.[at];
  if (typeof channels !== "number" || groups < 1 || channels % groups !== 0) return null;
  const parts = s.ledger.carve(x[at]!, [groups, channels / groups]);
  if (parts === null) return null;
  for (const a of parts[1]!)
    s.ledger.freezes.push({
      factor: a,
      start: 0,
      count: a.length as number,
      why: "a group of a normalisation",
    });
  for (const i of [1, 2]) {
    const p = s.axes(i)?.[0] ?? [];
    const perGroup = s.shapes.shape(s.node.inputs[i]!)?.[0] === groups && groups !== channels;
    s.ledger.same(perGroup ? parts[0]! : parts.flat(), p, "norm parameters of an axis cut differently");
  }
  s.fix({ kind: "count", attr, axis: parts[0]! });
  return [x];
};

/** Attention in one node on `[batch, tokens, heads · size]`: a head goes from queries, keys, values and output at once. */
const multiHead: Rule = (s) => {
  const attr = s.node.domain === "" ? "q_num_heads" : "num_heads";
  const heads = int(s, attr, 0);
  const operands = [0, 1, 2].map((i) => s.axes(i));
  if (operands.some((a) => a === null || a.length !== 3) || heads < 1) return null;
  if (s.node.domain === "" && int(s, "kv_num_heads", heads) !== heads) return null;
  if (s.node.outputs.length > 1 || s.node.inputs.slice(3).some((i) => i !== null)) return null;
  const cut = operands.map((a, i) => {
    const size = s.shapes.shape(s.node.inputs[i]!)?.[2];
    return typeof size === "number" && size % heads === 0
      ? s.ledger.carve(a![2]!, [heads, size / heads])
      : null;
  });
  if (cut.some((c) => c === null)) return null;
  const [q, k, v] = cut as [Axes, Axes, Axes];
  for (const other of [k, v]) s.ledger.same(q[0]!, other[0]!, "heads of an axis cut differently");
  for (const c of [q, k, v]) s.ledger.freeze(c[1]!, "the channels of a head");
  s.ledger.heads.push(...q[0]!);
  s.fix({ kind: "count", attr, axis: q[0]! });
  if (s.node.domain === "") s.fix({ kind: "count", attr: "kv_num_heads", axis: q[0]! });
  return [[operands[0]![0]!, operands[0]![1]!, [...q[0]!, ...v[1]!]]];
};

/** The standard Attention on `[batch, heads, tokens, size]`, or as {@link multiHead} on three axes. */
const attention: Rule = (s) => {
  if (rankOf(s, 0) === 3) return multiHead(s);
  const [q, k, v] = [s.axes(0), s.axes(1), s.axes(2)];
  if (q?.length !== 4 || k?.length !== 4 || v?.length !== 4 || s.node.outputs.length > 1) return null;
  for (const i of [3, 4, 5]) if (s.node.inputs[i] !== null && s.node.inputs[i] !== undefined) return null;
  const batch = broadcast(s, [q.slice(0, 2), k.slice(0, 2), v.slice(0, 2)]);
  s.ledger.same(q[3]!, k[3]!, "summed over axes that are cut differently");
  s.ledger.freeze(q[3]!, "the scale of the scores depends on it");
  s.ledger.heads.push(...batch[1]!);
  return [[...batch, q[2]!, v[3]!]];
};

/** Operators that compute. */
export const COMPUTE: Rules = {
  MatMul: matmul,
  Gemm: gemm,
  Conv: conv,
  ConvTranspose: conv,
  Einsum: einsum,
  ReduceMean: reduce,
  ReduceSum: reduce,
  ReduceMax: reduce,
  ReduceMin: reduce,
  ReduceL2: reduce,
  ReduceSumSquare: reduce,
  Softmax: softmax,
  LogSoftmax: softmax,
  LayerNormalization: layerNorm,
  RMSNormalization: layerNorm,
  SimplifiedLayerNormalization: layerNorm,
  InstanceNormalization: channelNorm,
  BatchNormalization: channelNorm,
  GroupNormalization: groupNorm,
  "com.microsoft:GroupNorm": groupNorm,
  "com.microsoft:MultiHeadAttention": multiHead,
  Attention: attention,
};
