import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { opSpec } from "../ops/index.ts";
import { type ConstRef, constantOf, type MatchScope } from "./constant.ts";
import { passesThrough, throughIdentity } from "./identity.ts";
import type { NodePattern, Pattern } from "./pattern.ts";

export { throughIdentity };

/** A part that was recognised earlier, as later patterns see it: one input, one output. */
export interface MadePart {
  readonly kind: string;
  readonly input: ValueId;
  readonly output: ValueId;
}

/** Scope of hierarchical patterns: parts by the value they make. */
export interface PartScope extends MatchScope {
  readonly made?: ReadonlyMap<ValueId, readonly MadePart[]>;
}

/** A successful match: what was captured, and every node that took part. */
export interface Match {
  readonly ok: true;
  /** Producer of the matched value; `undefined` when the value is not computed. */
  readonly root: Node | undefined;
  /** Matched nodes, root first, each once. Computations of constants are not among them. */
  readonly nodes: readonly Node[];
  value(name: string): ValueId;
  maybe(name: string): ValueId | undefined;
  each(name: string): readonly ValueId[];
  node(name: string): Node | undefined;
  const(name: string): ConstRef | undefined;
  part(name: string): MadePart | undefined;
}

/** A pattern that does not fit: the reason found deepest in it, and the node there. */
export interface Mismatch {
  readonly ok: false;
  readonly why: string;
  readonly node: NodeId;
  /** How far the match got, to choose among the reasons of several spellings. */
  readonly depth?: number;
}

/** The mismatch that got further; the first one when they are equal. */
export function further(a: Mismatch | null, b: Mismatch): Mismatch {
  return a === null || (b.depth ?? 0) > (a.depth ?? 0) ? b : a;
}

/** A typed result or the reason why there is none. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | Mismatch;

/** Most nodes of one match: patterns are small, so a longer one only follows a hostile chain of identities. */
const MAX_NODES = 256;

/** Stands for "no node" where a value without producer fails to match. */
const NO_NODE = -1 as NodeId;

/** Backtracking matcher: every pattern is tried with a continuation, and undone when the continuation fails. */
class Matcher {
  readonly #scope: PartScope;
  readonly values = new Map<string, ValueId>();
  readonly lists = new Map<string, ValueId[]>();
  readonly consts = new Map<string, ConstRef>();
  readonly named = new Map<string, Node>();
  readonly parts = new Map<string, MadePart>();
  readonly nodes: Node[] = [];
  #failure: { depth: number; why: () => string; node: NodeId } | null = null;

  constructor(scope: PartScope) {
    this.#scope = scope;
  }

  /**
   * Keeps the first reason among the deepest; its text is made only when it is kept. At one depth a condition says more
   * than another operator, and that more than a value of another nature, which the wrong order of operands gives.
   */
  #fail(why: string | (() => string), at: Node | undefined, rank = 0): false {
    const depth = this.nodes.length * 4 + rank;
    if (this.#failure !== null && depth <= this.#failure.depth) return false;
    const node = at ?? this.nodes.at(-1);
    if (node !== undefined)
      this.#failure = { depth, why: typeof why === "string" ? () => why : why, node: node.id };
    return false;
  }

  failure(root: Node | undefined): Mismatch {
    const f = this.#failure;
    const node = f?.node ?? root?.id ?? NO_NODE;
    return { ok: false, why: f?.why() ?? "the pattern does not fit", node, depth: f?.depth ?? 0 };
  }

  result(root: Node | undefined): Match {
    return {
      ok: true,
      root,
      nodes: [...new Set(this.nodes)],
      value: (name) => {
        const v = this.values.get(name);
        if (v === undefined) throw new Error(`pattern does not capture "${name}"`);
        return v;
      },
      maybe: (name) => this.values.get(name),
      each: (name) => this.lists.get(name) ?? [],
      node: (name) => this.named.get(name),
      const: (name) => this.consts.get(name),
      part: (name) => this.parts.get(name),
    };
  }

  /** Binds a name for the time of the continuation. */
  #bind<T>(map: Map<string, T>, name: string | undefined, value: T, next: () => boolean): boolean {
    if (name === undefined) return next();
    const had = map.get(name);
    map.set(name, value);
    if (next()) return true;
    if (had === undefined) map.delete(name);
    else map.set(name, had);
    return false;
  }

  #capture(value: ValueId, as: string | undefined, list: string | undefined, next: () => boolean): boolean {
    if (list !== undefined) {
      const items = this.lists.get(list) ?? [];
      items.push(value);
      this.lists.set(list, items);
      if (next()) return true;
      items.pop();
      return false;
    }
    const had = as === undefined ? undefined : this.values.get(as);
    if (had !== undefined) {
      const same = had === value || throughIdentity(this.#scope, had) === throughIdentity(this.#scope, value);
      return same ? next() : this.#fail(() => `"${as}" is not the same value in both places`, undefined);
    }
    return this.#bind(this.values, as, value, next);
  }

  value(p: Pattern, value: ValueId | null | undefined, next: () => boolean): boolean {
    if (p.is === "optional") {
      if (value === null || value === undefined) return next();
      return this.value(p.of, value, next);
    }
    if (value === null || value === undefined) return this.#fail("an input is absent", undefined);
    const scope = this.#scope;
    switch (p.is) {
      case "any": {
        const why = p.where?.(value, scope) ?? null;
        if (why !== null) return this.#fail(why, scope.graph.producer(value), 2);
        return this.#capture(value, p.as, p.each, next);
      }
      case "const": {
        const c = constantOf(scope, value);
        const producer = scope.graph.producer(value);
        if (c === null) return this.#fail(() => `${this.#name(value)} is not a constant`, producer);
        const why = p.where?.(c, scope) ?? null;
        if (why !== null) return this.#fail(why, producer, 3);
        return this.#capture(value, p.as, p.each, () => this.#bind(this.consts, p.as, c, next));
      }
      case "oneOf":
        return p.of.some((option) => this.value(option, value, next));
      case "hole":
        throw new Error("a hole outside a chain step");
      case "made": {
        for (const part of scope.made?.get(throughIdentity(scope, value)) ?? []) {
          if (!p.by.includes(part.kind)) continue;
          if (this.#bind(this.parts, p.as, part, () => this.value(p.from, part.input, next))) return true;
        }
        return this.#fail(
          () => `${this.#name(value)} is not made by ${p.by.join(" or ")}`,
          scope.graph.producer(value),
        );
      }
      case "chain":
        return this.#chain(p, value, p.max, next);
      case "node": {
        const node = scope.graph.producer(value);
        if (node === undefined)
          return this.#fail(
            () => `${this.#name(value)} is not computed, expected ${p.ops.join(" or ")}`,
            undefined,
          );
        if (p.ops.includes(opKey(node))) {
          if (node.outputs[p.output ?? 0] !== value)
            return this.#fail(() => `another output of ${node.op} is used`, node);
          return this.node(p, node, null, next);
        }
        if (passesThrough(node, scope) && this.nodes.length < MAX_NODES) {
          this.nodes.push(node);
          if (this.value(p, node.inputs[0], next)) return true;
          this.nodes.pop();
          return false;
        }
        return this.#fail(() => `${node.op} found, expected ${p.ops.join(" or ")}`, node, 1);
      }
    }
  }

  #chain(p: Extract<Pattern, { is: "chain" }>, value: ValueId, left: number, next: () => boolean): boolean {
    const node = this.#scope.graph.producer(value);
    if (left > 0 && node !== undefined) {
      const name = opKey(node);
      for (const step of p.steps) {
        if (!step.ops.includes(name) || node.outputs[0] !== value) continue;
        if (
          this.node(
            step,
            node,
            (inner) => this.#chain(p, inner, left - 1, next),
            () => true,
          )
        )
          return true;
      }
      if (passesThrough(node, this.#scope) && node.inputs[0] !== null && node.inputs[0] !== undefined) {
        this.nodes.push(node);
        if (this.#chain(p, node.inputs[0], left - 1, next)) return true;
        this.nodes.pop();
      }
    }
    return this.value(p.end, value, next);
  }

  /** Matches a given node; `atHole` is what goes on at a {@link Pattern} hole. */
  node(p: NodePattern, node: Node, atHole: ((v: ValueId) => boolean) | null, next: () => boolean): boolean {
    const why = p.where?.(node, this.#scope) ?? null;
    if (why !== null) return this.#fail(why, node, 3);
    for (let i = p.inputs.length; i < node.inputs.length && p.rest !== true; i++)
      if (node.inputs[i] !== null) return this.#fail(() => `${node.op} has an unexpected input ${i}`, node);
    const swaps =
      p.inputs.length === 2 &&
      node.inputs.length === 2 &&
      opSpec(node.domain, node.op)?.traits?.includes("commutative") === true;
    const orders = swaps
      ? [
          [0, 1],
          [1, 0],
        ]
      : [p.inputs.map((_, i) => i)];
    this.nodes.push(node);
    const mark = this.nodes.length;
    for (const order of orders) {
      // Holes last: what follows them is the rest of the chain, which wants the step's own captures in place.
      const slots = p.inputs.map((want, i) => ({ want, input: node.inputs[order[i]!] ?? null }));
      const plain = slots.filter((s) => s.want?.is !== "hole");
      const holes = slots.filter((s) => s.want?.is === "hole");
      const walk = (k: number): boolean => {
        const slot = k < plain.length ? plain[k] : holes[k - plain.length];
        if (slot === undefined) return next();
        if (slot.want === null)
          return slot.input === null ? walk(k + 1) : this.#fail("an input is present", node);
        if (slot.want.is === "hole") {
          if (slot.input === null || atHole === null) return this.#fail("an input is absent", node);
          const inner = slot.input;
          return atHole(inner) && walk(k + 1);
        }
        return this.value(slot.want, slot.input, () => walk(k + 1));
      };
      if (this.#bind(this.named, p.as, node, () => walk(0))) return true;
      this.nodes.length = mark;
    }
    this.nodes.pop();
    return false;
  }

  #name(value: ValueId): string {
    return `"${this.#scope.graph.find(value)?.name ?? value}"`;
  }
}

/** Matches the pattern with `node` as its root. */
export function match(scope: PartScope, node: Node, pattern: NodePattern): Match | Mismatch {
  if (!pattern.ops.includes(opKey(node)))
    return { ok: false, why: `${node.op} found, expected ${pattern.ops.join(" or ")}`, node: node.id };
  const m = new Matcher(scope);
  if (!m.node(pattern, node, null, () => true)) return m.failure(node);
  return m.result(node);
}

/** Values made by `nodes` that anything else reads (another node or a graph output), apart from `output`. */
export function escapes(scope: MatchScope, nodes: readonly Node[], output: ValueId): readonly ValueId[] {
  const inside = new Set(nodes.map((n) => n.id));
  const out: ValueId[] = [];
  for (const n of nodes) {
    for (const v of n.outputs) {
      if (v === null || v === output) continue;
      if (scope.graph.isOutput(v) || scope.graph.users(v).some((u) => !inside.has(u))) out.push(v);
    }
  }
  return out;
}

/** Matches the pattern with its root at a value; `root` of the result is the value's producer. */
export function matchValue(scope: PartScope, value: ValueId, pattern: Pattern): Match | Mismatch {
  const producer = scope.graph.producer(value);
  const m = new Matcher(scope);
  if (!m.value(pattern, value, () => true)) return m.failure(producer);
  return m.result(producer);
}
