import { equalDim, isInteger, ratioDim } from "../../dim.ts";
import type { Dim } from "../../types.ts";

/**
 * A stretch of an axis whose elements keep their order through the graph. An axis is a list of factors, outermost first:
 * `[batch·heads, N, D]` has the factors batch and heads on its first axis. Factors of numeric length have elements
 * that can be removed; symbolic ones only take part in matching.
 */
export interface Factor {
  readonly id: number;
  readonly length: Dim;
}

/** Factors of one axis, outermost first; none for an axis of length 1. */
export type Axis = readonly Factor[];

/** One list per axis of a tensor. */
export type Axes = readonly Axis[];

/** Elements `start` to `start + Π parts` of `whole` are the elements of `parts` in mixed radix, the last part fastest. */
export interface Span {
  readonly whole: Factor;
  readonly start: number;
  readonly parts: Axis;
}

/** Elements that have to stay. */
export interface Freeze {
  readonly factor: Factor;
  readonly start: number;
  readonly count: number;
  readonly why: string;
}

const numeric = (a: Axis): boolean => a.every((f) => typeof f.length === "number");

/** Elements of an axis; `null` when a factor is symbolic. */
export function axisLength(a: Axis): number | null {
  return numeric(a) ? a.reduce((n, f) => n * (f.length as number), 1) : null;
}

/** True when two axes are the same factors. */
export function identical(a: Axis, b: Axis): boolean {
  return a.length === b.length && a.every((f, i) => f.id === b[i]!.id);
}

/** `a / b` when that is a whole number for all lengths, else `null`. */
function quotient(a: Dim, b: Dim): Dim | null {
  if (typeof a === "number" && typeof b === "number") return a % b === 0 ? a / b : null;
  const q = ratioDim(a, b);
  return q !== null && isInteger(q) ? q : null;
}

/** What following a graph finds out about its axes: which elements are the same, which stay, which are mixed by a norm. */
export class Ledger {
  readonly factors: Factor[] = [];
  readonly spans: Span[] = [];
  readonly freezes: Freeze[] = [];
  /** Factors over which a statistic is taken, with the operator that takes it. */
  readonly mixes: { readonly factor: Factor; readonly why: string }[] = [];
  /** Factors that number the heads of an attention. */
  readonly heads: Factor[] = [];

  factor(length: Dim): Factor {
    const f = { id: this.factors.length, length };
    this.factors.push(f);
    return f;
  }

  /** A new axis of this length. */
  axis(length: Dim): Axis {
    return length === 1 ? [] : [this.factor(length)];
  }

  freeze(axis: Axis, why: string): void {
    for (const factor of axis)
      if (typeof factor.length === "number")
        this.freezes.push({ factor, start: 0, count: factor.length, why });
  }

  mix(axis: Axis, why: string): void {
    for (const factor of axis) if (typeof factor.length === "number") this.mixes.push({ factor, why });
  }

  /** The axis as one factor of numeric length. */
  whole(axis: Axis): Factor | null {
    const length = axisLength(axis);
    if (length === null) return null;
    if (axis.length === 1) return axis[0]!;
    const whole = this.factor(length);
    if (axis.length > 0) this.spans.push({ whole, start: 0, parts: axis });
    return whole;
  }

  /** Cuts a factor in an outer part of the given length and an inner part. */
  #cut(f: Factor, outer: Factor): Factor {
    const inner = this.factor((f.length as number) / (outer.length as number));
    this.spans.push({ whole: f, start: 0, parts: [outer, inner] });
    return inner;
  }

  /** Says that two axes of equal length are the same; freezes both where their factors do not fit into each other. */
  same(a: Axis, b: Axis, why: string): void {
    if (identical(a, b)) return;
    const [p, q] = [[...a], [...b]];
    while (p.length > 0 && q.length > 0) {
      const [x, y] = [p.shift()!, q.shift()!];
      if (x.id === y.id) continue;
      if (equalDim(x.length, y.length)) {
        if (typeof x.length === "number") this.spans.push({ whole: x, start: 0, parts: [y] });
        continue;
      }
      const symbolic = typeof x.length !== "number" || typeof y.length !== "number";
      // Two symbolic lengths meet whenever nothing says that they are equal; they have no elements to follow.
      if (symbolic && p.length === 0 && q.length === 0 && typeof x.length === typeof y.length) continue;
      if (!symbolic && quotient(x.length, y.length) !== null) p.unshift(this.#cut(x, y));
      else if (!symbolic && quotient(y.length, x.length) !== null) q.unshift(this.#cut(y, x));
      else {
        this.freeze([...a, ...b], why);
        return;
      }
    }
    if (p.length + q.length > 0) this.freeze([...a, ...b], why);
  }

  /** Lays factors out over axes of the given lengths, cutting where needed; `null` when they do not fit. */
  carve(factors: Axis, dims: readonly Dim[]): Axes | null {
    const queue = [...factors];
    const out: Axis[] = [];
    for (const dim of dims) {
      const axis: Factor[] = [];
      let need = dim;
      while (need !== 1) {
        const f = queue.shift();
        if (f === undefined) return null;
        const rest = quotient(need, f.length);
        if (rest !== null) {
          axis.push(f);
          need = rest;
        } else if (typeof f.length === "number" && typeof need === "number" && f.length % need === 0) {
          const outer = this.factor(need);
          queue.unshift(this.#cut(f, outer));
          axis.push(outer);
          need = 1;
        } else return null;
      }
      out.push(axis);
    }
    return queue.length === 0 ? out : null;
  }
}
