import type { Node, NodeId, ValueId } from "../graph.ts";
import { isScalar, overLastAxis, permOf, swapsLastTwo } from "./checks.ts";
import { constantOf, floatOr, intOr, type MatchScope, scalarAt } from "./constant.ts";
import { escapes, match, type Match, type Mismatch, opName, type Outcome } from "./match.ts";
import { any, chain, constant, each, hole, type NodePattern, op, type Pattern } from "./pattern.ts";
import { dataUsers } from "./norm.ts";
import { uniformOf } from "../constants.ts";

/** One of the three inputs of an attention. */
export interface AttentionInput {
  /** The value that enters the product, scales taken off; for k before the transposition that swaps the last two axes. */
  readonly value: ValueId;
  /** The value before heads are split: the first one going back that is not made by moving elements. */
  readonly source: ValueId;
  /** True when only Reshape and Transpose lie between `source` and `value` (no slicing of a merged projection). */
  readonly direct: boolean;
  /** Nodes between `source` and `value`, last first. */
  readonly nodes: readonly NodeId[];
}

/** Something added to the scores, or chosen by a condition. */
export interface AttentionMask {
  readonly value: ValueId;
  readonly kind: "add" | "where";
  /** True when it is an addend known to be all zeros: exporters write one when there is no mask. */
  readonly zero: boolean;
}

/** softmax(q·kᵀ·scale + mask)·v with everything a rewrite needs. */
export interface AttentionMatch {
  /** `matmul` when written out, else the operator. */
  readonly spelling: string;
  readonly q: AttentionInput;
  readonly k: AttentionInput;
  readonly v: AttentionInput;
  /** True when `k.value` is already [..., head dim, keys]: no transposition of the last two axes was found. */
  readonly kTransposed: boolean;
  /** Product of all scales on q, k and the scores; `null` when one is computed from data. */
  readonly scale: number | null;
  readonly masks: readonly AttentionMask[];
  /** `null` when the shapes do not tell. */
  readonly heads: number | null;
  readonly headDim: number | null;
  /** Result of the second product. */
  readonly output: ValueId;
  /** [batch, queries, heads·head dim] after the heads are joined; `null` when no such value follows. */
  readonly merged: ValueId | null;
  /** The node that scores are normalised by; the operator itself when fused. */
  readonly softmax: NodeId;
  /** Nodes from `q.value`, `k.value`, `v.value` to `output`. */
  readonly core: readonly NodeId[];
  /** Core, head splits and joins: everything from the sources to `merged`. */
  readonly nodes: readonly NodeId[];
  /** Values inside `nodes` that something else reads as data. */
  readonly escapes: readonly ValueId[];
}

const scaled = (list: string): readonly NodePattern[] => [
  op("Mul", [hole, each(`${list}.mul`, isScalar)]),
  op("Div", [hole, each(`${list}.div`, isScalar)]),
];

const keys: Pattern = chain(scaled("k"), any("k"));
const scores: Pattern = chain(
  [
    ...scaled("qk"),
    op("Add", [hole, each("mask")]),
    op("Where", [each("where"), hole, constant()]),
    op("Where", [each("where"), constant(), hole]),
    op("Cast", [hole]),
  ],
  op("MatMul", [chain(scaled("q"), any("q")), keys], { as: "qk" }),
);
const softmax = op("Softmax", [scores], { as: "softmax", where: overLastAxis });
const probabilities: Pattern = chain(
  [
    op("Cast", [hole]),
    // Rows that are masked out as a whole: newer exporters replace their NaNs.
    op("Where", [op("IsNaN", [any()]), constant(), hole]),
  ],
  softmax,
);

/** Attention written out. */
export const ATTENTION: NodePattern = op("MatMul", [probabilities, any("v")]);

/** Ops that move elements, as far as head splitting and joining use them. */
const MOVES = new Set(["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"]);
/** Ops that take a part of a merged projection. */
const TAKES = new Set(["Slice", "Split", "Gather"]);

function traceBack(scope: MatchScope, value: ValueId): AttentionInput & { readonly steps: readonly Node[] } {
  const steps: Node[] = [];
  let at = value;
  let direct = true;
  for (;;) {
    const node = scope.graph.producer(at);
    const from = node?.inputs[0];
    if (node === undefined || node.domain !== "" || from === null || from === undefined) break;
    if (TAKES.has(node.op)) direct = false;
    else if (!MOVES.has(node.op)) break;
    if (constantOf(scope, from) !== null) break;
    steps.push(node);
    at = from;
  }
  return { value, source: at, direct, nodes: steps.map((n) => n.id), steps };
}

function dimAt(scope: MatchScope, value: ValueId | null | undefined, axis: number): number | null {
  const shape = value === null || value === undefined ? null : (scope.shapes?.shape(value) ?? null);
  const d = shape?.at(axis);
  return typeof d === "number" ? d : null;
}

/** Head count and width from the q that enters the product and from how it was split. */
function headsOf(
  scope: MatchScope,
  q: ValueId,
  steps: readonly Node[],
): { heads: number | null; headDim: number | null } {
  const rank = scope.shapes?.shape(q)?.length;
  const headDim = dimAt(scope, q, -1);
  if (rank === 4) return { heads: dimAt(scope, q, 1), headDim };
  if (steps.length === 0) return { heads: rank === 3 || rank === 2 ? 1 : null, headDim };
  for (const n of steps) {
    if (n.op !== "Transpose") continue;
    const perm = permOf(scope, n);
    if (perm?.join() !== "0,2,1,3") continue;
    return { heads: dimAt(scope, n.outputs[0], 1), headDim: dimAt(scope, n.outputs[0], 3) ?? headDim };
  }
  return { heads: null, headDim };
}

/** Nodes after `output` that join the heads, and the joined value. */
function joinHeads(
  scope: MatchScope,
  output: ValueId,
  width: number | null,
): { merged: ValueId | null; nodes: readonly Node[] } {
  const nodes: Node[] = [];
  let at = output;
  for (;;) {
    const shape = scope.shapes?.shape(at);
    if (shape?.length === 3 && width !== null && shape[2] === width) return { merged: at, nodes };
    const users = dataUsers(scope, at);
    const next = users[0];
    const out = next?.outputs[0];
    if (users.length !== 1 || next === undefined || out === null || out === undefined) break;
    if (next.domain !== "" || !MOVES.has(next.op) || next.inputs[0] !== at) break;
    nodes.push(next);
    at = out;
  }
  return { merged: null, nodes: [] };
}

function isZero(scope: MatchScope, value: ValueId): boolean {
  const c = constantOf(scope, value);
  if (c !== null) return uniformOf(c.tensor) === 0;
  const node = scope.graph.producer(value);
  if (node === undefined || node.domain !== "") return false;
  const zero = (v: ValueId | null | undefined): boolean => v !== null && v !== undefined && isZero(scope, v);
  switch (node.op) {
    case "ConstantOfShape": {
      const fill = node.attrs.get("value");
      return fill === undefined || (fill.kind === "tensor" && uniformOf(fill.value) === 0);
    }
    case "Mul": {
      // A product with a finite constant: 0 · data could be NaN, so both sides must be known.
      const [a, b] = node.inputs;
      const known = (v: ValueId | null | undefined): boolean => zero(v) || constantOf(scope, v) !== null;
      return (zero(a) && known(b)) || (zero(b) && known(a));
    }
    case "Expand":
    case "Reshape":
    case "Unsqueeze":
    case "Cast":
    case "Identity":
      return zero(node.inputs[0]);
    default:
      return false;
  }
}

function totalScale(scope: MatchScope, m: Match): number | null {
  let scale = 1;
  for (const list of ["q", "k", "qk"]) {
    for (const [kind, sign] of [
      ["mul", 1],
      ["div", -1],
    ] as const) {
      for (const v of m.each(`${list}.${kind}`)) {
        const s = scalarAt(scope, v);
        if (s === null) return null;
        scale *= s ** sign;
      }
    }
  }
  return scale;
}

/** Recognises written-out attention whose second product is `node`. */
export function matchAttention(scope: MatchScope, node: Node): Outcome<AttentionMatch> {
  const m = match(scope, node, ATTENTION);
  const output = node.outputs[0];
  if (!m.ok) return m;
  if (output === null || output === undefined)
    return { ok: false, why: "the result has no name", node: node.id };
  // A Transpose in front of k that only swaps the last two axes belongs to the product; scales may sit before it.
  let keyValue = m.value("k");
  const core = [...m.nodes];
  const keyMaker = scope.graph.producer(keyValue);
  let kTransposed = true;
  let inner: Match | Mismatch | null = null;
  if (keyMaker?.op === "Transpose" && keyMaker.domain === "") {
    const perm = permOf(scope, keyMaker);
    const from = keyMaker.inputs[0];
    if (perm !== null && swapsLastTwo(perm) && from !== null && from !== undefined) {
      kTransposed = false;
      inner = match(scope, keyMaker, op("Transpose", [keys]));
      keyValue = inner.ok ? inner.value("k") : from;
      core.push(...(inner.ok ? inner.nodes : [keyMaker]));
    }
  }
  const innerScale = inner?.ok === true ? totalScale(scope, inner) : 1;
  const outerScale = totalScale(scope, m);
  const q = traceBack(scope, m.value("q"));
  const k = traceBack(scope, keyValue);
  const v = traceBack(scope, m.value("v"));
  const { heads, headDim } = headsOf(scope, q.value, q.steps);
  const width =
    heads === null
      ? null
      : (() => {
          const valueDim = dimAt(scope, v.value, -1);
          return valueDim === null ? null : heads * valueDim;
        })();
  const join = joinHeads(scope, output, width);
  const all = [...new Set([...core, ...q.steps, ...k.steps, ...v.steps, ...join.nodes])];
  const masks: AttentionMask[] = [
    ...m.each("mask").map((value): AttentionMask => ({ value, kind: "add", zero: isZero(scope, value) })),
    ...m.each("where").map((value): AttentionMask => ({ value, kind: "where", zero: false })),
  ];
  const strip = ({ value, source, direct, nodes }: AttentionInput): AttentionInput => ({
    value,
    source,
    direct,
    nodes,
  });
  const softmaxNode = m.node("softmax") ?? node;
  return {
    ok: true,
    value: {
      spelling: "matmul",
      q: strip(q),
      k: strip(k),
      v: strip(v),
      kTransposed,
      scale: innerScale === null || outerScale === null ? null : innerScale * outerScale,
      masks,
      heads,
      headDim,
      output,
      merged: join.merged,
      softmax: softmaxNode.id,
      core: core.map((n) => n.id),
      nodes: all.map((n) => n.id),
      escapes: escapes(scope, all, join.merged ?? output).filter((e) =>
        dataUsers(scope, e).some((u) => !all.includes(u)),
      ),
    },
  };
}

/** Operators that are an attention by themselves: where q, k, v, mask and the head count are. */
const OPERATORS: Readonly<Record<string, { mask: number; heads: string; packed?: boolean }>> = {
  Attention: { mask: 3, heads: "q_num_heads" },
  "com.microsoft:MultiHeadAttention": { mask: 5, heads: "num_heads" },
  "com.microsoft:GroupQueryAttention": { mask: -1, heads: "num_heads" },
  "com.microsoft:Attention": { mask: 5, heads: "num_heads", packed: true },
};

/** Reads an attention operator (standard or `com.microsoft`). For the packed one q, k and v are the unprojected input. */
export function readAttentionOperator(scope: MatchScope, node: Node): Outcome<AttentionMatch> {
  const row = OPERATORS[opName(node)];
  const bad = (why: string): Mismatch => ({ ok: false, why, node: node.id });
  if (row === undefined) return bad(`${node.op} is not an attention operator`);
  const [a, b, c] = row.packed === true ? [node.inputs[0], node.inputs[0], node.inputs[0]] : node.inputs;
  const output = node.outputs[0];
  if (a === null || a === undefined || output === null || output === undefined)
    return bad("an input is absent");
  const read = (v: ValueId | null | undefined): AttentionInput => {
    const t = traceBack(scope, v ?? a);
    return { value: t.value, source: t.source, direct: t.direct, nodes: t.nodes };
  };
  const q = read(a);
  const rank = scope.shapes?.shape(a)?.length;
  const heads = rank === 4 ? dimAt(scope, a, 1) : intOr(node, row.heads, 0) || null;
  const last = dimAt(scope, a, -1);
  const headDim = rank === 4 ? last : last === null || heads === null ? null : last / heads;
  const scale = floatOr(node, "scale", 0);
  const mask = row.mask < 0 ? null : (node.inputs[row.mask] ?? null);
  return {
    ok: true,
    value: {
      spelling: opName(node),
      q,
      k: read(b),
      v: read(c),
      kTransposed: false,
      scale: scale !== 0 ? scale : headDim === null ? null : 1 / Math.sqrt(headDim),
      masks: mask === null ? [] : [{ value: mask, kind: "add", zero: isZero(scope, mask) }],
      heads,
      headDim,
      output,
      merged: scope.shapes?.shape(output)?.length === 3 ? output : null,
      softmax: node.id,
      core: [node.id],
      nodes: [node.id],
      escapes: [],
    },
  };
}
