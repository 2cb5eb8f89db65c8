/** Something a polynomial is made of: a named symbol, or an integer function of polynomials that has no closed form. */
export interface Atom {
  readonly kind: "symbol" | "floor" | "min" | "max";
  /** Canonical text; atoms are equal when their texts are. */
  readonly text: string;
  /** Operands: numerator and denominator of `floor`, at least two of `min` and `max`, none of a symbol. */
  readonly args: readonly Poly[];
}

interface Factor {
  readonly atom: Atom;
  readonly power: number;
}

/** `coef` times the product of `factors`, which are sorted by atom text. No factors: a constant. */
export interface Term {
  readonly coef: number;
  readonly factors: readonly Factor[];
  readonly degree: number;
}

/** Sum of terms in graded lexicographic order, largest first, without zero or repeated terms. Empty is zero. */
export type Poly = readonly Term[];

/** Most terms and highest degree of a polynomial; larger ones become an opaque unknown, so hostile models stay cheap. */
const MAX_TERMS = 48;
export const MAX_DEGREE = 32;

const ZERO: Poly = [];

export function constant(n: number): Poly {
  return n === 0 ? ZERO : [{ coef: n, factors: [], degree: 0 }];
}

export function ofAtom(atom: Atom): Poly {
  return [{ coef: 1, factors: [{ atom, power: 1 }], degree: 1 }];
}

/** The number a polynomial is, or `null` when a symbol is left. */
export function asNumber(p: Poly): number | null {
  if (p.length === 0) return 0;
  return p.length === 1 && p[0]!.degree === 0 ? p[0]!.coef : null;
}

/** Graded lexicographic order of monomials, largest first; 0 when they are the same monomial. */
function compareMonomials(a: Term, b: Term): number {
  if (a.degree !== b.degree) return b.degree - a.degree;
  const n = Math.min(a.factors.length, b.factors.length);
  for (let i = 0; i < n; i++) {
    const x = a.factors[i]!;
    const y = b.factors[i]!;
    if (x.atom.text !== y.atom.text) return x.atom.text < y.atom.text ? -1 : 1;
    if (x.power !== y.power) return y.power - x.power;
  }
  return b.factors.length - a.factors.length;
}

export function add(a: Poly, b: Poly, scale = 1): Poly {
  const out: Term[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const x = a[i];
    const y = b[j];
    const order = x === undefined ? 1 : y === undefined ? -1 : compareMonomials(x, y);
    if (order < 0) {
      out.push(x!);
      i++;
    } else if (order > 0) {
      out.push(scale === 1 ? y! : { ...y!, coef: y!.coef * scale });
      j++;
    } else {
      const coef = x!.coef + y!.coef * scale;
      if (coef !== 0) out.push({ ...x!, coef });
      i++;
      j++;
    }
  }
  return out;
}

function mulFactors(a: readonly Factor[], b: readonly Factor[]): readonly Factor[] {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const out: Factor[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const x = a[i];
    const y = b[j];
    if (y === undefined || (x !== undefined && x.atom.text < y.atom.text)) {
      out.push(x!);
      i++;
    } else if (x === undefined || y.atom.text < x.atom.text) {
      out.push(y);
      j++;
    } else {
      out.push({ atom: x.atom, power: x.power + y.power });
      i++;
      j++;
    }
  }
  return out;
}

function mulTerm(p: Poly, t: Term): Poly {
  if (t.coef === 0) return ZERO;
  return p.map((x) => ({
    coef: x.coef * t.coef,
    factors: mulFactors(x.factors, t.factors),
    degree: x.degree + t.degree,
  }));
}

export function mul(a: Poly, b: Poly): Poly {
  let out: Poly = ZERO;
  for (const t of b) out = add(out, mulTerm(a, t));
  return out;
}

/** Too large to go on with. */
export function tooLarge(p: Poly): boolean {
  return p.length > MAX_TERMS || (p[0]?.degree ?? 0) > MAX_DEGREE;
}

/** `a / b` as a monomial, or `null` when `b` does not divide it. Coefficients are left alone. */
function divideMonomial(a: readonly Factor[], b: readonly Factor[]): readonly Factor[] | null {
  const out: Factor[] = [];
  let j = 0;
  for (const f of a) {
    const g = b[j];
    if (g !== undefined && g.atom.text === f.atom.text) {
      if (g.power > f.power) return null;
      if (g.power < f.power) out.push({ atom: f.atom, power: f.power - g.power });
      j++;
    } else out.push(f);
  }
  return j === b.length ? out : null;
}

function gcd(a: number, b: number): number {
  let x = Math.abs(a);
  let y = Math.abs(b);
  while (y !== 0) [x, y] = [y, x % y];
  return x;
}

/** Polynomial division with integer coefficients: `a = quotient*b + remainder`. The leading coefficient of b is positive. */
function divide(a: Poly, b: Poly): { readonly quotient: Poly; readonly remainder: Poly } {
  const lead = b[0]!;
  let rest = a;
  let quotient: Poly = ZERO;
  const remainder: Term[] = [];
  while (rest.length > 0) {
    const t = rest[0]!;
    const factors = divideMonomial(t.factors, lead.factors);
    const q = factors === null ? 0 : Math.floor(t.coef / lead.coef);
    if (factors !== null && q !== 0) {
      const term: Term = { coef: q, factors, degree: t.degree - lead.degree };
      quotient = add(quotient, [term]);
      rest = add(rest, mulTerm(b, term), -1);
    }
    const now = rest[0];
    if (now !== undefined && compareMonomials(now, t) === 0) {
      remainder.push(now);
      rest = rest.slice(1);
    }
    if (tooLarge(rest) || remainder.length > MAX_TERMS) return { quotient: ZERO, remainder: a };
  }
  return { quotient, remainder };
}

/** Largest denominator looked for when coefficients are not integers (float arithmetic on shapes). */
const MAX_DENOMINATOR = 1 << 16;

/** Smallest factor that makes every coefficient an integer, or `null`. */
function denominator(p: Poly): number | null {
  let d = 1;
  for (const t of p) {
    if (Number.isInteger(t.coef * d)) continue;
    let k = 2;
    while (k <= MAX_DENOMINATOR && !nearInteger(t.coef * d * k)) k++;
    if (k > MAX_DENOMINATOR) return null;
    d *= k;
    if (d > MAX_DENOMINATOR) return null;
  }
  return d;
}

const nearInteger = (x: number): boolean => Math.abs(x - Math.round(x)) <= 1e-12 * Math.max(1, Math.abs(x));

export function scale(p: Poly, k: number): Poly {
  if (k === 1) return p;
  return p.map((t) => {
    const coef = t.coef * k;
    return { ...t, coef: nearInteger(coef) ? Math.round(coef) : coef };
  });
}

/** Monomial that divides every term of both. */
function commonMonomial(a: Poly, b: Poly): readonly Factor[] {
  let common: readonly Factor[] | null = null;
  for (const t of [...a, ...b]) {
    if (common === null) common = t.factors;
    else
      common = common.flatMap((f) => {
        const g = t.factors.find((x) => x.atom.text === f.atom.text);
        return g === undefined ? [] : [{ atom: f.atom, power: Math.min(f.power, g.power) }];
      });
    if (common.length === 0) break;
  }
  return common ?? [];
}

function dropMonomial(p: Poly, m: readonly Factor[]): Poly {
  const degree = m.reduce((sum, f) => sum + f.power, 0);
  return p.map((t) => ({ ...t, factors: divideMonomial(t.factors, m)!, degree: t.degree - degree }));
}

/** What is left of a floor division that has no closed form: `whole + floor(numerator / divisor)`. */
export interface FloorParts {
  readonly whole: Poly;
  readonly numerator: Poly;
  readonly divisor: Poly;
}

/**
 * Floor division in canonical form; atoms stand for integers. Uses floor((q*b+r)/b) = q + floor(r/b),
 * floor((g*x+c)/(g*b)) = floor((x+floor(c/g))/b) and floor((floor(x/a)+y)/b) = floor((x+a*y)/(a*b)).
 * A zero `numerator` means the division came out even. `null`: division by zero, or coefficients without common
 * denominator.
 */
export function floorParts(a: Poly, b: Poly): FloorParts | null {
  let whole: Poly = ZERO;
  let num = a;
  let den = b;
  for (let round = 0; round < 16; round++) {
    if (den.length === 0) return null;
    if (num.length === 0) return { whole, numerator: ZERO, divisor: den };
    const d = denominator([...num, ...den]);
    if (d === null) return null;
    num = scale(num, d);
    den = scale(den, d);
    if (den[0]!.coef < 0) {
      num = scale(num, -1);
      den = scale(den, -1);
    }
    const shared = commonMonomial(num, den);
    if (shared.length > 0) {
      num = dropMonomial(num, shared);
      den = dropMonomial(den, shared);
    }
    const divisor = asNumber(den);
    let g = 0;
    for (const t of num) if (divisor === null || t.degree > 0) g = gcd(g, t.coef);
    for (const t of den) g = gcd(g, t.coef);
    if (g > 1) {
      num = num.flatMap((t) => {
        const coef = Math.floor(t.coef / g);
        return coef === 0 ? [] : [{ ...t, coef }];
      });
      den = scale(den, 1 / g);
    }
    const { quotient, remainder } = divide(num, den);
    whole = add(whole, quotient);
    num = remainder;
    const by = asNumber(den);
    if (by !== null) {
      const left = asNumber(num);
      if (left !== null) {
        whole = add(whole, constant(Math.floor(left / by)));
        return { whole, numerator: ZERO, divisor: den };
      }
      const inner = nestedFloor(num);
      if (inner !== null) {
        num = add(inner.numerator, inner.rest, inner.divisor);
        den = constant(by * inner.divisor);
        continue;
      }
    }
    if (quotient.length === 0 && g <= 1 && shared.length === 0) break;
  }
  return { whole, numerator: num, divisor: den };
}

/** Recognises `floor(x/a) + y` with a constant `a` and no other floor in `y`. */
function nestedFloor(p: Poly): { numerator: Poly; divisor: number; rest: Poly } | null {
  let found: Term | null = null;
  for (const t of p) {
    if (!t.factors.some((f) => f.atom.kind === "floor")) continue;
    if (found !== null || t.coef !== 1 || t.degree !== 1) return null;
    found = t;
  }
  if (found === null) return null;
  const [numerator, by] = found.factors[0]!.atom.args;
  const divisor = asNumber(by!);
  if (divisor === null) return null;
  return { numerator: numerator!, divisor, rest: p.filter((t) => t !== found) };
}
