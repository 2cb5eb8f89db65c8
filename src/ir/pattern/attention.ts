import { uniformOf } from "../constants.ts";
import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { isScalar, overLastAxis, permOf, swapsLastTwo } from "./checks.ts";
import { constantOf, floatOr, intOr, type MatchScope, scalarAt } from "./constant.ts";
import { type AttentionInput, dimAt, headsOf, joinHeads, traceBack } from "./heads.ts";
import { escapes, type Match, type Mismatch, match, type Outcome } from "./match.ts";
import { dataUsers } from "./norm.ts";
import {
  any,
  type Check,
  chain,
  constant,
  each,
  hole,
  type NodePattern,
  oneOf,
  op,
  type Pattern,
} from "./pattern.ts";

export type { AttentionInput };

/** Something added to the scores, or chosen by a condition. */
interface AttentionMask {
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

const FUSED_PRODUCT = "com.microsoft:FusedMatMul";

/** A fused product that transposes nothing, or with `keys` nothing but its second operand. */
function plainProduct(keys: boolean): Check<Node> {
  return (n) => {
    const odd = ["transA", "transBatchA", "transBatchB", ...(keys ? [] : ["transB"])].find(
      (a) => intOr(n, a, 0) !== 0,
    );
    if (odd !== undefined) return `${n.op} has ${odd} set`;
    return keys || floatOr(n, "alpha", 1) === 1 ? null : `${n.op} scales the result`;
  };
}

const queries: Pattern = chain(scaled("q"), any("q"));
const keys: Pattern = chain(scaled("k"), any("k"));
const scores: Pattern = chain(
  [
    ...scaled("qk"),
    op("Add", [hole, each("mask")]),
    op("Where", [each("where"), hole, constant()]),
    op("Where", [each("where"), constant(), hole]),
    op("Cast", [hole]),
  ],
  oneOf(
    op("MatMul", [queries, keys], { as: "qk" }),
    op(FUSED_PRODUCT, [queries, keys], { as: "qk", where: plainProduct(true) }),
  ),
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

/** Attention written out; the products may be fused ones that scale and transpose. */
const ATTENTION_SPELLINGS: readonly NodePattern[] = [
  op("MatMul", [probabilities, any("v")]),
  op(FUSED_PRODUCT, [probabilities, any("v")], { where: plainProduct(false) }),
];

/** True when a value is known to be all zeros without reading data from files. */
export function isZero(scope: MatchScope, value: ValueId, depth = 16): boolean {
  const c = constantOf(scope, value);
  if (c !== null) return uniformOf(c.tensor) === 0;
  const node = scope.graph.producer(value);
  if (node === undefined || node.domain !== "" || depth === 0) return false;
  const zero = (v: ValueId | null | undefined): boolean =>
    v !== null && v !== undefined && isZero(scope, v, depth - 1);
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
  const pattern = ATTENTION_SPELLINGS.find((p) => p.ops.includes(opKey(node))) ?? ATTENTION_SPELLINGS[0]!;
  const m = match(scope, node, pattern);
  const output = node.outputs[0];
  if (!m.ok) return m;
  if (output === null || output === undefined)
    return { ok: false, why: "the result has no name", node: node.id };
  // A Transpose in front of k that only swaps the last two axes belongs to the product; scales may sit before it.
  let keyValue = m.value("k");
  const core = [...m.nodes];
  const keyMaker = scope.graph.producer(keyValue);
  const product = m.node("qk");
  let kTransposed = product === undefined || intOr(product, "transB", 0) === 0;
  let inner: Match | Mismatch | null = null;
  if (kTransposed && keyMaker?.op === "Transpose" && keyMaker.domain === "") {
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
  const alpha = product === undefined ? 1 : floatOr(product, "alpha", 1);
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
      scale: innerScale === null || outerScale === null ? null : alpha * innerScale * outerScale,
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
