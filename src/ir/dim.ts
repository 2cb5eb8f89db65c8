import { add, asNumber, constant, mul, ofAtom, type Poly, scale } from "./dim/poly.ts";
import {
  bounded,
  extreme,
  floorDivide,
  lowerBound,
  MAX_DIM_TEXT,
  opaque,
  parsePoly,
  polyText,
  symbol,
} from "./dim/text.ts";
import type { Dim } from "./types.ts";

/*
 * Symbolic axis lengths. A dim is a polynomial with numeric coefficients over symbols and over floor, min and max of
 * such polynomials, kept as canonical text: polynomials that are equal have the same text. Named symbols stand for
 * integers that are at least 1; symbols that start with `?` are unknowns about which nothing is assumed. Non-integer
 * coefficients occur only while float arithmetic on shapes is followed. Numbers are never -0 (hence the `+ 0`).
 */

const CACHE_LIMIT = 1 << 16;
const parsed = new Map<string, Poly>();
const results = new Map<string, Dim>();

function remember<V>(cache: Map<string, V>, key: string, value: V): V {
  if (cache.size >= CACHE_LIMIT) cache.clear();
  cache.set(key, value);
  return value;
}

function poly(d: Dim): Poly {
  if (typeof d === "number") return constant(d);
  const hit = parsed.get(d);
  if (hit !== undefined) return hit;
  // A dim_param that is no expression is a symbol with that name.
  return remember(parsed, d, parsePoly(d) ?? ofAtom(symbol(d)));
}

function dim(p: Poly): Dim {
  const n = asNumber(p);
  if (n !== null && Number.isFinite(n)) return n;
  const kept = bounded(p);
  const only =
    kept.length === 1 && kept[0]!.coef === 1 && kept[0]!.degree === 1 ? kept[0]!.factors[0]!.atom : null;
  const text = polyText(kept);
  if (text.length > MAX_DIM_TEXT) return dim(opaque(text));
  // A lone symbol that needed quotes is written bare, as the model declares it.
  const out = only !== null && only.kind === "symbol" && text.startsWith("`") ? text.slice(1, -1) : text;
  if (!parsed.has(out)) remember(parsed, out, kept);
  return out;
}

function binary(op: string, a: Dim, b: Dim, f: (a: Poly, b: Poly) => Poly): Dim {
  const key = `${a}\u0000${op}\u0000${b}`;
  const hit = results.get(key);
  return hit ?? remember(results, key, dim(f(poly(a), poly(b))));
}

/** Canonical form of a dim; text that is no expression is a symbol and stays as it is. */
export function canonicalDim(d: Dim): Dim {
  return typeof d === "number" ? d : dim(poly(d));
}

/** Reads an expression; `null` when the text is not one (it may still serve as the name of a symbol). */
export function parseDim(text: string): Dim | null {
  const p = parsePoly(text);
  return p === null ? null : dim(p);
}

/** `a + b`. */
export function addDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a + b;
  if (a === 0) return b;
  if (b === 0) return a;
  return binary("+", a, b, add);
}

/** `a - b`. */
export function subDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (b === 0) return a;
  if (a === b) return 0;
  return binary("-", a, b, (x, y) => add(x, y, -1));
}

/** `-a`. */
export function negDim(a: Dim): Dim {
  return typeof a === "number" ? 0 - a : subDim(0, a);
}

/** `a * b`. */
export function mulDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a * b + 0;
  if (a === 1) return b;
  if (b === 1) return a;
  if (a === 0 || b === 0) return 0;
  return binary("*", a, b, mul);
}

/** `floor(a / b)`; exact quotients of polynomials are found. Division by zero gives an unknown. */
export function divDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number" && b !== 0) return Math.floor(a / b) + 0;
  if (b === 1 && typeof a === "string") return a;
  if (a === b) return 1;
  return binary("/", a, b, floorDivide);
}

/** `ceil(a / b)`, written as `-floor(-a / b)` in canonical form. */
export function ceilDivDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number" && b !== 0) return Math.ceil(a / b) + 0;
  if (typeof b === "number" && b > 0) return divDim(addDim(a, b - 1), b);
  return negDim(divDim(negDim(a), b));
}

/** `a - b*floor(a / b)`: the remainder with the sign of the divisor. */
export function modDim(a: Dim, b: Dim): Dim {
  return subDim(a, mulDim(b, divDim(a, b)));
}

/** Real quotient when it is a polynomial again (constant divisor, or an exact division); `null` otherwise. */
export function ratioDim(a: Dim, b: Dim): Dim | null {
  if (b === 0) return null;
  if (typeof b === "number") return typeof a === "number" ? a / b : dim(scale(poly(a), 1 / b));
  const q = divDim(a, b);
  return equalDim(mulDim(q, b), a) ? q : null;
}

/** `floor(a)`, for dims with non-integer coefficients. */
export function floorDim(a: Dim): Dim {
  if (typeof a === "number") return Math.floor(a) + 0;
  return isInteger(a) ? a : binary("floor", a, 1, floorDivide);
}

/** `ceil(a)`, for dims with non-integer coefficients. */
export function ceilDim(a: Dim): Dim {
  return typeof a === "number" ? Math.ceil(a) + 0 : negDim(floorDim(negDim(a)));
}

/** True when every coefficient is an integer, so that the dim is an integer whatever its symbols are. */
export function isInteger(a: Dim): boolean {
  return typeof a === "number" ? Number.isInteger(a) : poly(a).every((t) => Number.isInteger(t.coef));
}

/** Smaller of the two; provable cases are decided, others become `min(a,b)`. */
export function minDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return Math.min(a, b);
  return a === b ? a : binary("min", a, b, (x, y) => extreme("min", [x, y]));
}

/** Larger of the two; provable cases are decided, others become `max(a,b)`. */
export function maxDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return Math.max(a, b);
  return a === b ? a : binary("max", a, b, (x, y) => extreme("max", [x, y]));
}

/** True when both are provably the same length. */
export function equalDim(a: Dim, b: Dim): boolean {
  if (a === b) return true;
  if (typeof a === "number" && typeof b === "number") return false;
  return canonicalDim(a) === canonicalDim(b);
}

/** True when `a` is at least `b` for all lengths its named symbols can have. */
export function atLeast(a: Dim, b: Dim): boolean {
  if (typeof a === "number" && typeof b === "number") return a >= b;
  return lowerBound(add(poly(a), poly(b), -1)) >= 0;
}

/** True when the dim depends on something inference could not see. */
export function isUnknown(d: Dim): boolean {
  return typeof d === "string" && d.includes("?");
}

/** Product of the dims; 1 for none. */
export function productDim(dims: readonly Dim[]): Dim {
  let out: Dim = 1;
  for (const d of dims) out = mulDim(out, d);
  return out;
}

/** Names of the symbols in a dim, sorted. */
export function dimSymbols(d: Dim): readonly string[] {
  const names = new Set<string>();
  const walk = (p: Poly): void => {
    for (const t of p)
      for (const f of t.factors) {
        if (f.atom.kind === "symbol") names.add(bare(f.atom.text));
        for (const a of f.atom.args) walk(a);
      }
  };
  if (typeof d === "string") walk(poly(d));
  return [...names].sort();
}

function bare(text: string): string {
  return text.startsWith("`") ? text.slice(1, -1) : text;
}

/** The dim with symbols replaced; symbols without a binding stay. */
export function substitute(d: Dim, bindings: Readonly<Record<string, Dim>>): Dim {
  if (typeof d === "number") return d;
  const go = (p: Poly): Poly => {
    let out: Poly = [];
    for (const t of p) {
      let product = constant(t.coef);
      for (const f of t.factors) {
        const value = replace(f.atom);
        for (let i = 0; i < f.power; i++) product = bounded(mul(product, value));
      }
      out = add(out, product);
    }
    return bounded(out);
  };
  const replace = (atom: Poly[number]["factors"][number]["atom"]): Poly => {
    if (atom.kind === "symbol") {
      const name = bare(atom.text);
      return Object.hasOwn(bindings, name) ? poly(bindings[name]!) : ofAtom(atom);
    }
    const args = atom.args.map(go);
    return atom.kind === "floor" ? floorDivide(args[0]!, args[1]!) : extreme(atom.kind, args);
  };
  return dim(go(poly(d)));
}
