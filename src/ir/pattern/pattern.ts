import type { Node, ValueId } from "../graph.ts";
import type { ConstRef, MatchScope } from "./constant.ts";

/** A condition: `null` when it holds, else why it does not, in words that fit after "because". */
export type Check<T> = (subject: T, scope: MatchScope) => string | null;

/** A producing node that a pattern asks for. */
export interface NodePattern {
  readonly is: "node";
  /** Operators, `domain:Op` or just `Op` for the standard domain. */
  readonly ops: readonly string[];
  /** One per input; `null` wants the input absent, {@link optional} allows that. Further inputs of the node must be absent. */
  readonly inputs: readonly (Pattern | null)[];
  /** Name under which the node is captured. */
  readonly as?: string;
  readonly where?: Check<Node>;
  /** Which output of the node the pattern stands for; 0 unless said. */
  readonly output?: number;
  /** Extra inputs are allowed. */
  readonly rest?: boolean;
}

/** What a value may be. Patterns are plain data: tables of them are shared by analyses and by rewriting passes. */
export type Pattern =
  /** Any value. The same `as` twice means the same value; `each` collects. */
  | { readonly is: "any"; readonly as?: string; readonly each?: string; readonly where?: Check<ValueId> }
  /** A constant, see `constantOf`. */
  | { readonly is: "const"; readonly as?: string; readonly each?: string; readonly where?: Check<ConstRef> }
  | NodePattern
  /** The first alternative that lets the whole pattern match. */
  | { readonly is: "oneOf"; readonly of: readonly Pattern[] }
  /** Any number (up to `max`) of steps, each a node with one {@link hole} input, then `end`. As many steps as possible. */
  | {
      readonly is: "chain";
      readonly steps: readonly NodePattern[];
      readonly end: Pattern;
      readonly max: number;
    }
  | { readonly is: "hole" }
  /** The input may be absent. */
  | { readonly is: "optional"; readonly of: Pattern }
  /** The value is the output of an already recognised part, whose input then has to match. */
  | { readonly is: "made"; readonly by: readonly string[]; readonly as?: string; readonly from: Pattern };

/** A node of the given operators. Inputs are tried in both orders when the op is commutative. */
export function op(
  ops: string | readonly string[],
  inputs: readonly (Pattern | null)[],
  more: { as?: string; where?: Check<Node>; output?: number; rest?: boolean } = {},
): NodePattern {
  return { is: "node", ops: typeof ops === "string" ? [ops] : ops, inputs, ...more };
}

/** Any value, captured under `as`; naming it twice means both uses must be the same value. */
export function any(as?: string, where?: Check<ValueId>): Pattern {
  return { is: "any", ...(as !== undefined && { as }), ...(where && { where }) };
}

/** Any value, added to the list `name`. */
export function each(name: string, where?: Check<ValueId>): Pattern {
  return { is: "any", each: name, ...(where && { where }) };
}

/** A constant tensor. */
export function constant(as?: string, where?: Check<ConstRef>): Pattern {
  return { is: "const", ...(as !== undefined && { as }), ...(where && { where }) };
}

/** The first of several spellings. */
export function oneOf(...of: readonly Pattern[]): Pattern {
  return { is: "oneOf", of };
}

/** The place in a chain step where the chain goes on. */
export const hole: Pattern = { is: "hole" };

/** Steps in any order and number, then `end`. */
export function chain(steps: readonly NodePattern[], end: Pattern, max = 6): Pattern {
  return { is: "chain", steps, end, max };
}

/** An input that may be left out. */
export function optional(of: Pattern): Pattern {
  return { is: "optional", of };
}

/** The output of a recognised part of one of these kinds. */
export function made(by: string | readonly string[], from: Pattern, as?: string): Pattern {
  return { is: "made", by: typeof by === "string" ? [by] : by, from, ...(as !== undefined && { as }) };
}
