import {
  type Atom,
  add,
  asNumber,
  constant,
  floorParts,
  MAX_DEGREE,
  mul,
  ofAtom,
  type Poly,
  scale,
  type Term,
  tooLarge,
} from "./poly.ts";

/** Longest text of one floor, min or max; longer ones become an opaque unknown. */
const MAX_TEXT = 600;
/** Longest text of a dim, canonical or read. */
export const MAX_DIM_TEXT = 2400;
const IDENTIFIER = /^[A-Za-z_?][A-Za-z0-9_.:?$@#]*$/;

function number(n: number): string {
  return String(n);
}

export function symbol(name: string): Atom {
  return { kind: "symbol", text: IDENTIFIER.test(name) ? name : `\`${name}\``, args: [] };
}

function termText(t: Term, first: boolean): string {
  const sign = t.coef < 0 ? "-" : first ? "" : "+";
  const size = Math.abs(t.coef);
  const parts: string[] = [];
  if (size !== 1 || t.factors.length === 0) parts.push(number(size));
  for (const f of t.factors) parts.push(f.power === 1 ? f.atom.text : `${f.atom.text}^${f.power}`);
  return sign + parts.join("*");
}

/** Canonical text of a polynomial. */
export function polyText(p: Poly): string {
  if (p.length === 0) return "0";
  return p.map((t, i) => termText(t, i === 0)).join("");
}

function group(p: Poly, denominator: boolean): string {
  const text = polyText(p);
  const t = p[0];
  const single =
    p.length === 1 && t !== undefined && (!denominator || t.factors.length + (t.coef === 1 ? 0 : 1) <= 1);
  return single ? text : `(${text})`;
}

/** 32-bit FNV-1a, for naming expressions that are too large to write down. */
function fingerprint(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(16);
}

/** An unknown that is the same for the same expression. */
export function opaque(text: string): Poly {
  return ofAtom(symbol(`?x${fingerprint(text)}_${text.length}`));
}

/** The polynomial itself, or an opaque unknown when it is too large to carry on. */
export function bounded(p: Poly): Poly {
  if (!tooLarge(p) && p.every((t) => Number.isFinite(t.coef))) return p;
  return opaque(polyText(p));
}

export function floorDivide(a: Poly, b: Poly): Poly {
  const parts = floorParts(a, b);
  if (parts === null) return opaque(`${polyText(a)}//${polyText(b)}`);
  if (parts.numerator.length === 0) return bounded(parts.whole);
  const text = `floor(${group(parts.numerator, false)}/${group(parts.divisor, true)})`;
  if (text.length > MAX_TEXT) return add(parts.whole, opaque(text));
  const atom: Atom = { kind: "floor", text, args: [parts.numerator, parts.divisor] };
  return bounded(add(parts.whole, ofAtom(atom)));
}

/** A number the polynomial cannot be below when every named symbol is at least 1; unknowns can be anything. */
export function lowerBound(p: Poly): number {
  let sum = 0;
  for (const t of p) {
    if (t.degree === 0) {
      sum += t.coef;
      continue;
    }
    if (t.coef < 0) return Number.NEGATIVE_INFINITY;
    let low = t.coef;
    for (const f of t.factors) {
      const atom = atomBound(f.atom);
      if (atom < 0) return Number.NEGATIVE_INFINITY;
      low *= atom ** f.power;
    }
    sum += low;
  }
  return sum;
}

function atomBound(a: Atom): number {
  switch (a.kind) {
    case "symbol":
      return a.text.startsWith("?") ? Number.NEGATIVE_INFINITY : 1;
    case "floor": {
      const by = asNumber(a.args[1]!);
      const low = lowerBound(a.args[0]!);
      if (by !== null) return Math.floor(low / by);
      return low >= 0 && lowerBound(a.args[1]!) > 0 ? 0 : Number.NEGATIVE_INFINITY;
    }
    case "min":
      return Math.min(...a.args.map(lowerBound));
    case "max":
      return Math.max(...a.args.map(lowerBound));
  }
}

/** Smallest or largest of the operands; those that provably lose are dropped. */
export function extreme(kind: "min" | "max", operands: readonly Poly[]): Poly {
  const flat: Poly[] = [];
  for (const p of operands) {
    const only = p.length === 1 && p[0]!.coef === 1 && p[0]!.degree === 1 ? p[0]!.factors[0]!.atom : null;
    if (only !== null && only.kind === kind) flat.push(...only.args);
    else flat.push(p);
  }
  const kept: Poly[] = [];
  for (const p of flat) {
    const beats = (a: Poly, b: Poly): boolean =>
      lowerBound(kind === "min" ? add(b, a, -1) : add(a, b, -1)) >= 0;
    if (kept.some((k) => beats(k, p))) continue;
    for (let i = kept.length - 1; i >= 0; i--) if (beats(p, kept[i]!)) kept.splice(i, 1);
    kept.push(p);
  }
  if (kept.length === 1) return kept[0]!;
  const sorted = kept.map((p) => ({ p, text: polyText(p) })).sort((a, b) => (a.text < b.text ? -1 : 1));
  const text = `${kind}(${sorted.map((s) => s.text).join(",")})`;
  if (text.length > MAX_TEXT) return opaque(text);
  return ofAtom({ kind, text, args: sorted.map((s) => s.p) });
}

/** Deepest nesting of parentheses that is read; deeper text is an opaque symbol. */
const MAX_DEPTH = 64;
const TOKEN =
  /\s*(?:(\d+(?:\.\d+)?(?:e[+-]?\d+)?)|([A-Za-z_?][A-Za-z0-9_.:?$@#]*)|`([^`]+)`|(\*\*|\/\/|[-+*/%^(),]))/y;

interface Token {
  readonly kind: "number" | "name" | "quoted" | "op";
  readonly text: string;
}

function tokens(text: string): Token[] | null {
  const out: Token[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const m = TOKEN.exec(text);
    if (m === null) return null;
    if (m[1] !== undefined) out.push({ kind: "number", text: m[1] });
    else if (m[2] !== undefined) out.push({ kind: "name", text: m[2] });
    else if (m[3] !== undefined) out.push({ kind: "quoted", text: m[3] });
    else out.push({ kind: "op", text: m[4]! });
  }
  return out;
}

interface Fraction {
  readonly num: Poly;
  readonly den: Poly;
}

const ONE = constant(1);
const whole = (num: Poly): Fraction => ({ num, den: ONE });
const integer = (f: Fraction): Poly => (f.den === ONE ? f.num : floorDivide(f.num, f.den));

/**
 * Reads an expression in the spelling of this module or of PyTorch and ONNX Runtime dim_params
 * (`s0//2 + 1`, `2*(h + w)`, `Mod(s0, 8)`); `null` when it is not one.
 */
export function parsePoly(text: string): Poly | null {
  if (text.length > MAX_DIM_TEXT) return null;
  const list = tokens(text);
  if (list === null || list.length === 0) return null;
  let at = 0;
  let depth = 0;
  const op = (...ops: string[]): string | null => {
    const t = list[at];
    if (t?.kind !== "op" || !ops.includes(t.text)) return null;
    at++;
    return t.text;
  };
  const call = (name: string): Fraction | null => {
    const args: Fraction[] = [];
    do {
      const a = sum();
      if (a === null) return null;
      args.push(a);
    } while (op(",") !== null);
    if (op(")") === null) return null;
    const [a, b] = args;
    switch (name.toLowerCase()) {
      case "floor":
        return args.length === 1 ? whole(integer(a!)) : null;
      case "ceil":
      case "ceiling":
        return args.length === 1 ? whole(scale(floorDivide(scale(a!.num, -1), a!.den), -1)) : null;
      case "floordiv":
        return args.length === 2 ? whole(floorDivide(mul(a!.num, b!.den), mul(a!.den, b!.num))) : null;
      case "mod": {
        if (args.length !== 2) return null;
        const [x, y] = [integer(a!), integer(b!)];
        return whole(add(x, mul(y, floorDivide(x, y)), -1));
      }
      case "min":
      case "max":
        return whole(extreme(name.toLowerCase() as "min" | "max", args.map(integer)));
      default:
        return null;
    }
  };
  const primary = (): Fraction | null => {
    const t = list[at++];
    if (t === undefined) return null;
    if (t.kind === "number") return whole(constant(Number(t.text)));
    if (t.kind === "quoted") return whole(ofAtom(symbol(t.text)));
    if (t.kind === "name") return op("(") === null ? whole(ofAtom(symbol(t.text))) : call(t.text);
    if (t.text === "(") {
      const inner = sum();
      return op(")") === null ? null : inner;
    }
    if (t.text === "-") {
      const inner = power();
      return inner === null ? null : { num: scale(inner.num, -1), den: inner.den };
    }
    return t.text === "+" ? power() : null;
  };
  const power = (): Fraction | null => {
    const base = primary();
    if (base === null || op("^", "**") === null) return base;
    const t = list[at++];
    const n = t?.kind === "number" ? Number(t.text) : -1;
    if (!Number.isInteger(n) || n < 0 || n > MAX_DEGREE) return null;
    let out: Fraction = whole(ONE);
    for (let i = 0; i < n; i++) {
      out = { num: mul(out.num, base.num), den: mulDen(out.den, base.den) };
      if (tooLarge(out.num) || tooLarge(out.den)) return null;
    }
    return out;
  };
  const product = (): Fraction | null => {
    let left = power();
    for (;;) {
      if (left === null) return null;
      const o = op("*", "/", "//", "%");
      if (o === null) return left;
      const right = power();
      if (right === null) return null;
      if (o === "*") left = { num: mul(left.num, right.num), den: mulDen(left.den, right.den) };
      else if (o === "/") left = { num: mul(left.num, right.den), den: mulDen(left.den, right.num) };
      else {
        const [x, y] = [integer(left), integer(right)];
        left = whole(o === "//" ? floorDivide(x, y) : add(x, mul(y, floorDivide(x, y)), -1));
      }
      if (tooLarge(left.num) || tooLarge(left.den)) return null;
    }
  };
  const sum = (): Fraction | null => {
    if (++depth > MAX_DEPTH) return null;
    let left = product();
    for (;;) {
      if (left === null) return null;
      const o = op("+", "-");
      if (o === null) break;
      const right = product();
      if (right === null) return null;
      const sign = o === "+" ? 1 : -1;
      left =
        left.den === ONE && right.den === ONE
          ? whole(add(left.num, right.num, sign))
          : {
              num: add(mul(left.num, right.den), mul(right.num, left.den), sign),
              den: mulDen(left.den, right.den),
            };
      if (tooLarge(left.num) || tooLarge(left.den)) return null;
    }
    depth--;
    return left;
  };
  const result = sum();
  return result === null || at !== list.length ? null : bounded(integer(result));
}

function mulDen(a: Poly, b: Poly): Poly {
  return a === ONE ? b : b === ONE ? a : mul(a, b);
}
