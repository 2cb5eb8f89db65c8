import { numbersOf, scalarOf } from "../ir/constants.ts";
import { type Graph, type Node, type NodeId, opKey, type ValueId } from "../ir/graph.ts";
import type { InferredShapes } from "../ir/infer.ts";
import { PatchBuilder } from "../ir/patch.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Dim } from "../ir/types.ts";
import type { PassContext } from "./pass.ts";

/** What a rewrite rule sees of the graph, and how it changes it. One patch collects a whole round. */
export class RewriteContext {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly patch: PatchBuilder;
  readonly opset: number;
  readonly pass: PassContext;
  readonly #claimed = new Set<NodeId>();
  readonly #known = new Map<(c: RewriteContext) => unknown, unknown>();

  constructor(graph: Graph, pass: PassContext, label: string) {
    this.graph = graph;
    this.pass = pass;
    this.shapes = pass.shapes();
    this.patch = new PatchBuilder(graph, label);
    this.opset = pass.model.opsets.get("") ?? 1;
  }

  /** Reserves nodes for a rewrite of this round; false (and nothing reserved) when another rewrite has one of them. */
  claim(...nodes: readonly Node[]): boolean {
    if (nodes.some((n) => this.#claimed.has(n.id))) return false;
    for (const n of nodes) this.#claimed.add(n.id);
    return true;
  }
  isClaimed(node: Node): boolean {
    return this.#claimed.has(node.id);
  }
  /** What `make` finds out about the graph as it is at the start of this round, computed when first asked for. */
  once<T>(make: (c: RewriteContext) => T): T {
    if (!this.#known.has(make)) this.#known.set(make, make(this));
    return this.#known.get(make) as T;
  }
  /** The node that makes input `i` of `node`, when it is of the given operator of the standard domain. */
  producer(node: Node, i: number, op?: string, domain = ""): Node | undefined {
    const p = this.graph.producer(node.inputs[i]);
    return p !== undefined && (op === undefined || (p.op === op && p.domain === domain)) ? p : undefined;
  }
  /** The only node that reads output 0 of `node`; `undefined` when there are more, or it is a graph output. */
  onlyUser(node: Node): Node | undefined {
    const out = node.outputs[0];
    if (out === null || out === undefined || this.graph.isOutput(out)) return undefined;
    const users = this.graph.users(out);
    return users.length === 1 ? this.graph.node(users[0]!) : undefined;
  }
  constant(node: Node, i: number): Tensor | null {
    return this.graph.constant(node.inputs[i]);
  }
  /** Constant integers of input `i`, from an initializer or from propagated data. */
  ints(node: Node, i: number): readonly number[] | null {
    const id = node.inputs[i];
    if (id === null || id === undefined) return null;
    const fixed = numbersOf(this.graph.constant(id));
    if (fixed !== null) return fixed;
    const data = this.shapes.data(id);
    return data?.every((d): d is number => typeof d === "number") ? data : null;
  }
  scalar(node: Node, i: number): number | null {
    return scalarOf(this.constant(node, i));
  }
  shape(id: ValueId | null | undefined): readonly Dim[] | null {
    return id === null || id === undefined ? null : this.shapes.shape(id);
  }
  /** Replaces all uses of the single output of `node` by `value` and removes the node. */
  bypass(node: Node, value: ValueId): void {
    this.patch.redirect(node.outputs[0]!, value).remove(node.id);
  }
}

/** One local rewrite. `apply` returns true after it claimed its nodes and wrote into the patch. */
export interface Rule {
  /** kebab-case; appears in decisions. */
  readonly name: string;
  /** Operators the rule is tried on, of the standard domain unless written `domain:op`. */
  readonly ops: readonly string[];
  apply(c: RewriteContext, node: Node): boolean;
}

/** Bound on rounds: a rule set that has not settled by then has a cycle, which is a bug worth seeing. */
const MAX_ROUNDS = 32;

/** Applies rules to a fixed point, a round per patch. Records one decision per rule with the number of rewrites. */
export function rewriteToFixedPoint(
  graph: Graph,
  rules: readonly Rule[],
  ctx: PassContext,
  label: string,
): void {
  const byOp = new Map<string, Rule[]>();
  for (const rule of rules) {
    for (const op of rule.ops) {
      const list = byOp.get(op);
      if (list === undefined) byOp.set(op, [rule]);
      else list.push(rule);
    }
  }
  const counts = new Map<string, number>();
  for (let round = 0; ; round++) {
    if (round === MAX_ROUNDS) throw new Error(`${label} did not settle in ${MAX_ROUNDS} rounds`);
    const c = new RewriteContext(graph, ctx, label);
    for (const node of graph.nodes()) {
      const candidates = byOp.get(opKey(node));
      if (candidates === undefined) continue;
      for (const rule of candidates) {
        if (c.isClaimed(node)) break;
        if (rule.apply(c, node)) counts.set(rule.name, (counts.get(rule.name) ?? 0) + 1);
      }
    }
    if (!c.patch.apply()) break;
  }
  for (const [rule, count] of counts) ctx.decide({ node: "", kind: "applied", rule, count });
}
