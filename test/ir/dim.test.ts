import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addDim,
  atLeast,
  canonicalDim,
  ceilDim,
  ceilDivDim,
  dimSymbols,
  divDim,
  equalDim,
  floorDim,
  isUnknown,
  maxDim,
  minDim,
  modDim,
  mulDim,
  negDim,
  parseDim,
  ratioDim,
  subDim,
  substitute,
} from "../../src/ir/dim.ts";
import type { Dim } from "../../src/ir/types.ts";

const NAMES = ["a", "b", "height", "w.1"] as const;
type Env = Record<string, number>;

/** An expression as a dim and as a function of the symbols. */
interface Both {
  readonly dim: Dim;
  readonly value: (env: Env) => number;
}

const leaf: fc.Arbitrary<Both> = fc.oneof(
  fc.constantFrom(...NAMES).map((n) => ({ dim: n as Dim, value: (env: Env) => env[n]! })),
  fc.integer({ min: -6, max: 9 }).map((n) => ({ dim: n as Dim, value: () => n })),
);

const { expression } = fc.letrec<{ expression: Both }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf,
    fc
      .tuple(tie("expression"), tie("expression"), fc.constantFrom("+", "-", "*", "min", "max"))
      .map(([x, y, op]): Both => {
        switch (op) {
          case "+":
            return { dim: addDim(x.dim, y.dim), value: (e) => x.value(e) + y.value(e) };
          case "-":
            return { dim: subDim(x.dim, y.dim), value: (e) => x.value(e) - y.value(e) };
          case "*":
            return { dim: mulDim(x.dim, y.dim), value: (e) => x.value(e) * y.value(e) };
          case "min":
            return { dim: minDim(x.dim, y.dim), value: (e) => Math.min(x.value(e), y.value(e)) };
          default:
            return { dim: maxDim(x.dim, y.dim), value: (e) => Math.max(x.value(e), y.value(e)) };
        }
      }),
    fc
      .tuple(tie("expression"), fc.integer({ min: 1, max: 12 }), fc.constantFrom("floor", "ceil", "mod"))
      .map(([x, k, op]): Both => {
        switch (op) {
          case "floor":
            return { dim: divDim(x.dim, k), value: (e) => Math.floor(x.value(e) / k) };
          case "ceil":
            return { dim: ceilDivDim(x.dim, k), value: (e) => Math.ceil(x.value(e) / k) };
          default:
            return { dim: modDim(x.dim, k), value: (e) => x.value(e) - k * Math.floor(x.value(e) / k) };
        }
      }),
  ),
}));

const environment: fc.Arbitrary<Env> = fc
  .tuple(...NAMES.map(() => fc.integer({ min: 1, max: 40 })))
  .map((v) => Object.fromEntries(NAMES.map((n, i) => [n, v[i]!])));

describe("dim algebra", () => {
  it("has the value of the expression it was made from", () => {
    fc.assert(
      fc.property(expression, environment, (e, env) => {
        const want = e.value(env);
        fc.pre(Number.isSafeInteger(want) && Math.abs(want) < 1e12 && !isUnknown(e.dim));
        expect(substitute(e.dim, env)).toBe(want + 0);
      }),
      { numRuns: 2000 },
    );
  });

  it("is canonical: reading its own text gives the same text", () => {
    fc.assert(
      fc.property(expression, (e) => {
        fc.pre(!isUnknown(e.dim));
        if (typeof e.dim === "string") expect(parseDim(e.dim)).toBe(e.dim);
        expect(canonicalDim(e.dim)).toBe(e.dim);
      }),
      { numRuns: 1000 },
    );
  });

  it("binds step by step as it binds at once", () => {
    fc.assert(
      fc.property(expression, environment, (e, env) => {
        fc.pre(!isUnknown(e.dim));
        const { a, height } = env;
        const half = substitute(e.dim, { a: a!, height: height! });
        expect(substitute(half, env)).toBe(substitute(e.dim, env));
      }),
      { numRuns: 500 },
    );
  });

  it("gives ring-equal expressions the same text", () => {
    fc.assert(
      fc.property(expression, expression, expression, (x, y, z) => {
        fc.pre(![x, y, z].some((e) => isUnknown(e.dim)));
        const [a, b, c] = [x.dim, y.dim, z.dim];
        const left = mulDim(a, addDim(b, c));
        fc.pre(!isUnknown(left));
        expect(left).toBe(addDim(mulDim(c, a), mulDim(b, a)));
        expect(subDim(addDim(a, b), b)).toBe(canonicalDim(a));
        expect(minDim(a, b)).toBe(minDim(b, a));
      }),
      { numRuns: 500 },
    );
  });

  it("divides products exactly", () => {
    fc.assert(
      fc.property(expression, expression, (x, y) => {
        const product = mulDim(x.dim, y.dim);
        fc.pre(y.dim !== 0 && !isUnknown(product) && !isUnknown(x.dim));
        expect(divDim(product, y.dim)).toBe(canonicalDim(x.dim));
      }),
      { numRuns: 500 },
    );
  });

  it("claims an order only where it holds", () => {
    fc.assert(
      fc.property(expression, expression, environment, (x, y, env) => {
        if (atLeast(x.dim, y.dim)) expect(x.value(env)).toBeGreaterThanOrEqual(y.value(env));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("canonical text", () => {
  it.each<[Dim, Dim]>([
    [mulDim("height", 2), "2*height"],
    [addDim("width", "height"), "height+width"],
    [subDim("batch", "batch"), 0],
    [addDim(divDim(subDim("width", 1), 2), 1), "floor((width+1)/2)"],
    [divDim(divDim("h", 2), 3), "floor(h/6)"],
    [divDim(addDim(mulDim("h", 4), 6), 4), "h+1"],
    [divDim(mulDim(mulDim("b", 320), mulDim("h", "w")), mulDim("b", 32)), "10*h*w"],
    [mulDim(addDim("h", 1), subDim("h", 1)), "h^2-1"],
    [divDim(subDim(mulDim("h", "h"), 1), addDim("h", 1)), "h-1"],
    [ceilDivDim("s", 8), "floor((s+7)/8)"],
    [modDim("s", 8), "-8*floor(s/8)+s"],
    [minDim("h", mulDim(2, "h")), "h"],
    [maxDim(subDim("h", 1), 0), "h-1"],
    [minDim(77, "seq"), "min(77,seq)"],
    [negDim("h"), "-h"],
    [floorDim(mulDim("h", 0.5)), "floor(h/2)"],
    [ceilDim(mulDim("h", 1.5)), "-floor(h/2)+2*h"],
  ])("%s", (found, want) => {
    expect(found).toBe(want);
  });

  it.each([
    ["s0//2 + 1", "floor(s0/2)+1"],
    ["2*(h + w)", "2*h+2*w"],
    ["(height/8)*8", "height"],
    ["floor(width/2 - 1/2) + 1", "floor((width+1)/2)"],
    ["Mod(s0, 8)", "s0-8*floor(s0/8)"],
    ["Max(1, s0)", "s0"],
    ["h**2", "h^2"],
    ["ceiling(h/2)", "-floor(-h/2)"],
  ])("reads %s", (text, want) => {
    expect(equalDim(parseDim(text)!, want)).toBe(true);
  });

  it.each(["", "2*", "batch size", "f(x)", "((((", "unk__12 + ", "a,b", "3.x"])(
    "%j is a plain name",
    (text) => {
      expect(parseDim(text)).toBeNull();
      if (text !== "") expect(substitute(text, { [text]: 7 })).toBe(7);
    },
  );

  it("quotes names inside expressions and keeps them bare alone", () => {
    const sum = addDim("batch size", 1);
    expect(sum).toBe("`batch size`+1");
    expect(subDim(sum, 1)).toBe("batch size");
    expect(dimSymbols(sum)).toEqual(["batch size"]);
    expect(substitute(sum, { "batch size": 3 })).toBe(4);
  });
});

describe("unknowns and limits", () => {
  it("knows what depends on an unknown", () => {
    expect(isUnknown("?3.0")).toBe(true);
    expect(isUnknown(mulDim("?3.0", 2))).toBe(true);
    expect(isUnknown("height")).toBe(false);
    expect(atLeast("?3.0", 0)).toBe(false);
    expect(atLeast("height", 1)).toBe(true);
  });

  it("answers a division by zero with the same unknown each time", () => {
    expect(isUnknown(divDim("h", 0))).toBe(true);
    expect(divDim("h", 0)).toBe(divDim("h", 0));
    expect(divDim("h", 0)).not.toBe(divDim("w", 0));
  });

  it("gives up on expressions that explode", () => {
    let sum: Dim = 0;
    for (let i = 0; i < 12; i++) sum = addDim(sum, `s${i}`);
    let power: Dim = sum;
    for (let i = 0; i < 30; i++) power = mulDim(power, sum);
    expect(isUnknown(power)).toBe(true);
    expect(String(power).length).toBeLessThan(2000);
    expect(parseDim("(a+b+c+d+e+f+g)^32")).toBeNull();
    let high: Dim = 1;
    for (let i = 0; i < 40; i++) high = mulDim(high, "h");
    expect(isUnknown(high)).toBe(true);
    const long = Array.from({ length: 40 }, (_, i) => `${"n".repeat(90)}${i}`).reduce<Dim>(addDim, 0);
    expect(isUnknown(long)).toBe(true);
  });

  it("tells exact ratios from others", () => {
    expect(ratioDim(mulDim("h", 6), 4)).toBe("1.5*h");
    expect(ratioDim(mulDim("h", "w"), "w")).toBe("h");
    expect(ratioDim("h", "w")).toBeNull();
    expect(ratioDim("h", 0)).toBeNull();
  });
});
