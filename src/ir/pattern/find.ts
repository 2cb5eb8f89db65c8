import { isFloat } from "../dtype.ts";
import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { type ActivationMatch, matchActivation, readActivationOperator } from "./activation.ts";
import { type AttentionMatch, matchAttention } from "./attention.ts";
import { readAttentionOperator } from "./attention-operator.ts";
import type { MatchScope } from "./constant.ts";
import { further, type Mismatch, type Outcome } from "./match.ts";
import { matchGroupNorm, matchLayerNorm, matchRmsNorm, type NormMatch } from "./norm.ts";
import { readNormOperator } from "./norm-operator.ts";

/** A structure that was expected at a node and is not there. */
export interface Miss {
  /** Rule name. */
  readonly pattern: string;
  /** The node that made the rule look: only this structure uses the operator. */
  readonly node: NodeId;
  readonly why: string;
}

type StructureMatch = NormMatch | ActivationMatch | AttentionMatch;

/** A row of the table of structures. */
interface StructureRule<T extends StructureMatch = StructureMatch> {
  /** kebab-case. */
  readonly name: string;
  /** Operators of the node that `recognise` takes, `domain:Op` outside the standard domain. */
  readonly roots: readonly string[];
  /** An operator that every match contains. */
  readonly needs?: string;
  /** An operator that stays unexplained when no match takes it: a reason is recorded then. */
  readonly anchor?: string;
  recognise(scope: MatchScope, node: Node): Outcome<T>;
}

const activation = (kind: ActivationMatch["kind"], anchor: string, roots: string[]): StructureRule => ({
  name: kind,
  roots,
  needs: anchor,
  anchor,
  recognise: (scope, node) => matchActivation(scope, node, [kind]),
});

/** Every structure looked for, in order of preference where two could take the same nodes. */
const STRUCTURE_RULES: readonly StructureRule[] = [
  {
    name: "attention",
    roots: ["MatMul", "com.microsoft:FusedMatMul"],
    needs: "Softmax",
    anchor: "Softmax",
    recognise: matchAttention,
  },
  { name: "group-norm", roots: ["Reshape"], anchor: "InstanceNormalization", recognise: matchGroupNorm },
  {
    name: "layer-norm",
    roots: ["Div", "Mul"],
    needs: "ReduceMean",
    anchor: "ReduceMean",
    recognise: matchLayerNorm,
  },
  { name: "rms-norm", roots: ["Div", "Mul"], needs: "ReduceMean", recognise: matchRmsNorm },
  activation("gelu", "Erf", ["Mul", "Div"]),
  activation("gelu-tanh", "Tanh", ["Mul", "Div"]),
  activation("quick-gelu", "Sigmoid", ["Mul"]),
  activation("silu", "Sigmoid", ["Mul"]),
  {
    name: "norm-operator",
    roots: [
      "LayerNormalization",
      "RMSNormalization",
      "SimplifiedLayerNormalization",
      "GroupNormalization",
      "InstanceNormalization",
      "com.microsoft:SimplifiedLayerNormalization",
      "com.microsoft:GroupNorm",
      "com.microsoft:SkipGroupNorm",
      "com.microsoft:SkipLayerNormalization",
      "com.microsoft:SkipSimplifiedLayerNormalization",
    ],
    recognise: readNormOperator,
  },
  {
    name: "attention-operator",
    roots: [
      "Attention",
      "com.microsoft:Attention",
      "com.microsoft:MultiHeadAttention",
      "com.microsoft:GroupQueryAttention",
    ],
    recognise: readAttentionOperator,
  },
  {
    name: "activation-operator",
    roots: [
      "Gelu",
      "Swish",
      "Relu",
      "Mish",
      "Elu",
      "HardSwish",
      "com.microsoft:Gelu",
      "com.microsoft:FastGelu",
      "com.microsoft:QuickGelu",
    ],
    recognise: (_, node) => readActivationOperator(node),
  },
];

/** All structures of a graph, in topological order of their roots. */
export interface Structures {
  readonly norms: readonly NormMatch[];
  readonly activations: readonly ActivationMatch[];
  readonly attentions: readonly AttentionMatch[];
  readonly misses: readonly Miss[];
}

/** How far ahead of an unexplained anchor its root may lie. */
const ANCHOR_HOPS = 8;

/** Root candidates ahead of an anchor, nearest first. */
function ahead(scope: MatchScope, anchor: Node, roots: readonly string[]): Node[] {
  const out: Node[] = [];
  let front = [anchor];
  const seen = new Set<NodeId>([anchor.id]);
  for (let hop = 0; hop < ANCHOR_HOPS && front.length > 0; hop++) {
    const next: Node[] = [];
    for (const n of front) {
      for (const v of n.outputs) {
        if (v === null) continue;
        for (const u of scope.graph.users(v)) {
          if (seen.has(u)) continue;
          seen.add(u);
          const node = scope.graph.node(u);
          next.push(node);
          if (roots.includes(opKey(node))) out.push(node);
        }
      }
    }
    front = next;
  }
  return out;
}

/** Why no match took an anchor; `null` when nothing like the structure follows it at all. */
function explain(scope: MatchScope, rule: StructureRule, anchor: Node): Miss | null {
  let last: Mismatch | null = null;
  for (const root of ahead(scope, anchor, rule.roots)) {
    const r = rule.recognise(scope, root);
    if (r.ok) continue;
    last = further(last, r);
  }
  if (last === null) return null;
  const at = scope.graph.hasNode(last.node) ? scope.graph.node(last.node).name : "";
  const why = `${last.why}${at === "" ? "" : ` (at "${at}")`}`;
  return { pattern: rule.name, node: anchor.id, why };
}

/** Integer arithmetic computes shapes, which no structure is made of. */
function isInteger(scope: MatchScope, node: Node): boolean {
  const out = node.outputs[0];
  const dtype = out === null || out === undefined ? null : (scope.shapes?.dtype(out) ?? null);
  return dtype !== null && !isFloat(dtype);
}

const isAttention = (m: StructureMatch): m is AttentionMatch => "softmax" in m;
const isNorm = (m: StructureMatch): m is NormMatch => "epsilon" in m;

/** Finds every structure of the table in a graph, and why anchors that none of them took were not matched. */
export function findStructures(
  scope: MatchScope,
  rules: readonly StructureRule[] = STRUCTURE_RULES,
): Structures {
  const present = new Set<string>();
  for (const node of scope.graph.nodes()) present.add(opKey(node));
  const byRoot = new Map<string, StructureRule[]>();
  for (const rule of rules) {
    if (rule.needs !== undefined && !present.has(rule.needs)) continue;
    for (const root of rule.roots) byRoot.set(root, [...(byRoot.get(root) ?? []), rule]);
  }
  const taken = new Set<NodeId>();
  const norms: NormMatch[] = [];
  const activations: ActivationMatch[] = [];
  const attentions: AttentionMatch[] = [];
  // Operators that are inner nodes of a written-out structure must not match by themselves, so those come second.
  const single: { rule: StructureRule; node: Node }[] = [];
  const accept = (m: StructureMatch, own: readonly NodeId[]): void => {
    for (const id of own) taken.add(id);
    if (isAttention(m)) attentions.push(m);
    else if (isNorm(m)) norms.push(m);
    else activations.push(m);
  };
  for (const node of scope.graph.nodes()) {
    const candidates = byRoot.get(opKey(node));
    if (candidates === undefined || isInteger(scope, node)) continue;
    for (const rule of candidates) {
      if (rule.name.endsWith("-operator")) {
        single.push({ rule, node });
        continue;
      }
      const r = rule.recognise(scope, node);
      if (!r.ok) continue;
      accept(r.value, isAttention(r.value) ? r.value.core : r.value.nodes);
      break;
    }
  }
  const unsplit: Node[] = [];
  for (const { rule, node } of single) {
    if (taken.has(node.id)) continue;
    // Behind a Reshape it was meant to be a group norm: say why it is not, and keep it as what it is.
    if (node.op === "InstanceNormalization" && scope.graph.producer(node.inputs[0])?.op === "Reshape")
      unsplit.push(node);
    const r = rule.recognise(scope, node);
    if (r.ok) accept(r.value, r.value.nodes);
  }
  const misses: Miss[] = [];
  const anchored = new Map<string, StructureRule>();
  for (const rule of rules) if (rule.anchor !== undefined) anchored.set(rule.anchor, rule);
  const order = new Map<NodeId, number>();
  for (const node of scope.graph.nodes()) {
    order.set(node.id, order.size);
    if (node.domain !== "" || (taken.has(node.id) && !unsplit.includes(node))) continue;
    const rule = anchored.get(node.op);
    const miss = rule === undefined ? null : explain(scope, rule, node);
    if (miss !== null) misses.push(miss);
  }
  const at = (output: ValueId): number => {
    const p = scope.graph.producer(output);
    return p === undefined ? -1 : (order.get(p.id) ?? -1);
  };
  const sort = <T extends { readonly output: ValueId }>(list: T[]): T[] =>
    list.sort((a, b) => at(a.output) - at(b.output));
  return {
    norms: sort(norms),
    activations: sort(activations),
    attentions: sort(attentions),
    misses,
  };
}
