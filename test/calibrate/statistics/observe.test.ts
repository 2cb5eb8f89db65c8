import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/dense.ts";
import { createObserver } from "../../../src/calibrate/statistics/observer.ts";
import { drawPlaces, spreadOf } from "../../../src/calibrate/statistics/positions.ts";
import { type PositionsProbe, positionsShape } from "../../../src/calibrate/statistics/probes.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { gramOf, im2col, relative, rowsOf } from "./fetched.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

function copying(rank: number, opset: number): Model {
  const b = new ModelBuilder({ opset });
  const x = b.input(
    "x",
    "f32",
    Array.from({ length: rank }, (_, i) => `d${i}`),
  );
  b.output(b.node("Identity", [x], {}, { outputNames: ["y"] }));
  return b.build();
}

const draw = { seed: 1, call: 2, run: 3 };

describe("moments inside the graph", () => {
  it.each([11, 13, 17, 18, 21])("are those of the fetched activation at opset %i", async (opset) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.nat(4),
        fc.integer(),
        async (dims, at, seed) => {
          const axis = at < dims.length ? at : null;
          const data = gaussian(
            createRng(seed >>> 0),
            dims.reduce((a, b) => a * b, 1),
          );
          const probe = { kind: "moments", value: "y", axis, square: true } as const;
          const observer = createObserver(copying(dims.length, opset), [probe], runtime, {});
          const { answers } = await observer.run(new Map([["x", denseFrom("f32", dims, data)]]), draw);
          await observer.release();
          const rows = axis === null ? [...data].map((v) => [v]) : rowsOf({ dims, data }, axis);
          const of = (f: (column: number[]) => number) => rows[0]!.map((_, c) => f(rows.map((r) => r[c]!)));
          const mean = (v: number[]) => v.reduce((a, b) => a + b, 0) / v.length;
          const expected = [
            ...of((v) => Math.min(...v)),
            ...of((v) => Math.max(...v)),
            ...of(mean),
            ...of((v) => mean(v.map((x) => x * x))),
          ];
          expect(relative(answers, expected)).toBeLessThan(1e-6);
        },
      ),
      { numRuns: 12, seed: opset },
    );
  });
});

describe("positions inside the graph", () => {
  const anyUnfold = fc.record({
    kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    strides: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    dilations: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    pads: fc.tuple(fc.nat(2), fc.nat(1), fc.nat(1), fc.nat(2)),
  });

  it.each([10, 13, 18])("unfolded, are the rows of im2col and their Gram (opset %i)", async (opset) => {
    await fc.assert(
      fc.asyncProperty(
        anyUnfold,
        fc.integer({ min: 1, max: 60 }),
        fc.integer(),
        async (unfold, wanted, seed) => {
          const dims = [2, 3, 6, 5];
          const data = gaussian(createRng(seed >>> 0), 180);
          const probe = (w: number, gram: boolean): PositionsProbe => ({
            kind: "positions",
            value: "y",
            axis: 1,
            unfold,
            wanted: w,
            gram,
          });
          const probes = [
            probe(Number.POSITIVE_INFINITY, false),
            probe(Number.POSITIVE_INFINITY, true),
            probe(wanted, false),
          ];
          const observer = createObserver(copying(4, opset), probes, runtime, {});
          const { slots, answers } = await observer.run(new Map([["x", denseFrom("f32", dims, data)]]), draw);
          await observer.release();
          const part = (i: number) => answers.subarray(slots[i]!.offset, slots[i]!.offset + slots[i]!.length);
          const expected = im2col({ dims, data }, unfold);
          expect([...part(0)]).toEqual(expected.flat().map(Math.fround));
          const { size, reduced, rows } = positionsShape(probes[1]!, dims);
          expect(reduced).toBe(rows > size);
          if (reduced)
            expect(relative(part(1).subarray(0, size * size), gramOf(expected))).toBeLessThan(1e-5);
          const known = new Set(expected.map((r) => r.map(Math.fround).join()));
          const some = part(2);
          expect(some.length / size).toBeGreaterThanOrEqual(Math.min(wanted, expected.length));
          for (let r = 0; r < some.length; r += size)
            expect(known.has(some.slice(r, r + size).join())).toBe(true);
        },
      ),
      { numRuns: 15, seed: opset },
    );
  });

  it("along any axis are rows of the activation", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }),
        fc.nat(3),
        fc.integer({ min: 1, max: 40 }),
        async (dims, at, wanted) => {
          const axis = at % dims.length;
          const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => i);
          const probe: PositionsProbe = {
            kind: "positions",
            value: "y",
            axis,
            unfold: null,
            wanted,
            gram: false,
          };
          const observer = createObserver(copying(dims.length, 17), [probe], runtime, {});
          const { answers } = await observer.run(new Map([["x", denseFrom("f32", dims, data)]]), draw);
          await observer.release();
          const channels = dims[axis]!;
          const all = new Set(rowsOf({ dims, data }, axis).map((r) => r.join()));
          const found = new Set<string>();
          for (let r = 0; r < answers.length; r += channels) found.add(answers.slice(r, r + channels).join());
          expect(found.size).toBe(answers.length / channels);
          expect([...found].every((f) => all.has(f))).toBe(true);
          expect(found.size).toBeGreaterThanOrEqual(Math.min(wanted, all.size));
        },
      ),
      { numRuns: 40, seed: 3 },
    );
  });
});

describe("drawn places", () => {
  it("are different, ascending, repeatable, and change from run to run", () => {
    const a = drawPlaces(draw, 100, 20);
    expect(new Set(a).size).toBe(20);
    expect([...a].every((v, i) => v >= 0 && v < 100 && (i === 0 || v > a[i - 1]!))).toBe(true);
    expect(drawPlaces(draw, 100, 20)).toEqual(a);
    expect(drawPlaces({ ...draw, run: 4 }, 100, 20)).not.toEqual(a);
    expect(drawPlaces({ ...draw, call: 4 }, 100, 20)).not.toEqual(a);
  });

  it("give every sample its share", () => {
    expect(spreadOf(8, 1024, 16)).toEqual({ before: null, after: 2 });
    expect(spreadOf(8, 1024, 3)).toEqual({ before: 3, after: 1 });
    expect(spreadOf(8, 1024, 1e9)).toEqual({ before: null, after: null });
    expect(spreadOf(2048, 1, 100)).toEqual({ before: 100, after: null });
  });
});
