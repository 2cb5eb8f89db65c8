import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseFrom, numbersOf } from "../../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { PatchBuilder } from "../../../../src/ir/patch.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import type { Shape } from "../../../../src/ir/types.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import { createClock, type Profile } from "../../../../src/passes/quantize/static/clock.ts";
import { runtime } from "../../harness.ts";

/** What the graph is asked for. */
type Wanted =
  | { readonly kind: "scale"; readonly base: readonly number[]; readonly profile: Profile }
  | {
      readonly kind: "bias";
      readonly beta: readonly number[];
      readonly gamma: readonly number[];
      readonly input: Profile;
      readonly output: Profile;
    };

interface Timed {
  readonly dtype: "i64" | "f32";
  readonly shape: Shape;
  readonly timesteps: readonly number[];
}

/** A model that returns what a clock was asked for as y0, y1, …. */
function clocked(
  timed: Timed | null,
  timesteps: readonly number[],
  wanted: readonly Wanted[],
  bounds: readonly number[] | null = null,
  opset = 21,
) {
  const b = new ModelBuilder({ opset });
  const timestep = timed === null ? null : b.input("timestep", timed.dtype, timed.shape);
  const marks = wanted.map((w, i) => {
    const mark = b.constant(f32Tensor([0]), `mark${i}`);
    const dtype = w.kind === "scale" ? "f32" : "i32";
    b.output(b.node("Identity", [mark]), `y${i}`, { kind: "tensor", dtype, shape: null });
    return mark;
  });
  const model: Model = b.build();
  const { graph } = model;
  const patch = new PatchBuilder(graph, "clock");
  const clock = createClock({ graph, patch, timestep, timesteps, bounds, opset });
  for (const [i, w] of wanted.entries())
    patch.redirect(
      marks[i]!,
      w.kind === "scale"
        ? clock.scale(w.base, w.profile)
        : clock.bias(w.beta, w.gamma, { input: w.input, output: w.output }),
    );
  const table = clock.emit();
  patch.apply();
  return { model, table };
}

async function valuesAt(model: Model, timed: Timed | null): Promise<number[][]> {
  const feeds = new Map(
    timed === null
      ? []
      : [
          [
            "timestep",
            denseFrom(
              timed.dtype,
              timed.shape?.length === 0 ? [] : [timed.timesteps.length],
              timed.timesteps,
            ),
          ],
        ],
  );
  const session = await (await runtime()).openSession(model);
  const out = await session.run(feeds);
  await session.release();
  return [...out.values()].map(numbersOf);
}

/** The factor at a timestep: calibrated ones joined by lines, the ends held outside. */
function factorAt(t: number, profile: Profile, timesteps: readonly number[]): number {
  if (profile === null) return 1;
  const points = timesteps.map((x, i) => [x, profile[i]!] as const).sort((a, b) => a[0] - b[0]);
  const [first, last] = [points[0]!, points.at(-1)!];
  if (t <= first[0]) return first[1];
  if (t >= last[0]) return last[1];
  const k = points.findIndex(([x]) => x >= t);
  const [[x0, y0], [x1, y1]] = [points[k - 1]!, points[k]!];
  return y0 + ((y1 - y0) * (t - x0)) / (x1 - x0);
}

/** The widest of a batch. */
const widest = (timed: Timed, profile: Profile, timesteps: readonly number[]): number =>
  Math.max(...timed.timesteps.map((t) => factorAt(t, profile, timesteps)));

/** The position among 20 knots is a float32 sum: off by a few 1e-6 of a row, where neighbours differ up to tenfold. */
function expectClose(found: readonly number[], expected: readonly number[]): void {
  expect(found.length).toBe(expected.length);
  for (const [i, e] of expected.entries())
    expect(Math.abs(found[i]! - e)).toBeLessThan(4e-5 * Math.abs(e) + 1e-9);
}

const EVEN = Array.from({ length: 20 }, (_, i) => 950 - 50 * i);
const UNEVEN = [999, 801, 310, 120, 12, 0];

function profileOf(seed: number, calls: number): Float64Array {
  const rng = createRng(seed, "profile");
  return Float64Array.from({ length: calls }, () => 0.2 + 2 * rng.float());
}

const FORMS = [
  { name: "scalar int64", dtype: "i64", shape: [], count: 1 },
  { name: "int64 [1]", dtype: "i64", shape: [1], count: 1 },
  { name: "int64 per sample", dtype: "i64", shape: ["batch"], count: 3 },
  { name: "scalar float", dtype: "f32", shape: [], count: 1 },
  { name: "float [steps]", dtype: "f32", shape: ["steps"], count: 1 },
  { name: "float per sample", dtype: "f32", shape: ["batch"], count: 4 },
] as const;

describe("scales that follow the timestep", () => {
  it.each(FORMS.flatMap((form) => [EVEN, UNEVEN].map((timesteps) => ({ ...form, timesteps }))))(
    "$name, calibrated at $timesteps.length timesteps: lines between, ends held outside, the widest of a batch",
    async ({ dtype, shape, count, timesteps }) => {
      const [a, b] = [profileOf(1, timesteps.length), profileOf(2, timesteps.length)];
      const wanted: Wanted[] = [
        { kind: "scale", base: [0.01], profile: a },
        { kind: "scale", base: [0.5, 2, 3], profile: b },
        { kind: "scale", base: [7], profile: b },
        { kind: "scale", base: [1, 4, 9], profile: a },
        { kind: "scale", base: [5, 6], profile: null },
      ];
      const timed = { dtype, shape, timesteps: new Array<number>(count).fill(0) };
      const { model, table } = clocked(timed, timesteps, wanted);
      expect(table).toEqual({ profiles: 2, bytes: 4 * 2 * timesteps.length, bucket: null });
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.oneof(fc.constantFrom(...timesteps), fc.integer({ min: -40, max: 1200 })), {
            minLength: count,
            maxLength: count,
          }),
          async (at) => {
            const moved = { ...timed, timesteps: at.map((t) => (dtype === "f32" ? t + 0.25 : t)) };
            const found = await valuesAt(model, moved);
            for (const [i, w] of wanted.entries())
              if (w.kind === "scale")
                expectClose(
                  found[i]!,
                  w.base.map((v) => v * widest(moved, w.profile, timesteps)),
                );
          },
        ),
        { numRuns: 12 },
      );
    },
  );

  it("biases are those of the quantized layer: round(beta / input + gamma · output / input)", async () => {
    const [a, b] = [profileOf(3, EVEN.length), profileOf(4, EVEN.length)];
    const rng = createRng(9, "bias");
    const vector = (n: number): number[] => Array.from({ length: n }, () => 500 * rng.normal());
    const wanted: Wanted[] = (
      [
        [a, b],
        [a, null],
        [null, b],
        [null, null],
        [a, a],
      ] as const
    ).map(([input, output], i) => ({
      kind: "bias",
      beta: vector(2 + (i % 2)),
      gamma: vector(2 + (i % 2)),
      input,
      output,
    }));
    const timed: Timed = { dtype: "i64", shape: [1], timesteps: [333] };
    const found = await valuesAt(clocked(timed, EVEN, wanted).model, timed);
    for (const [i, w] of wanted.entries())
      if (w.kind === "bias")
        for (const [n, beta] of w.beta.entries()) {
          const [x, y] = [factorAt(333, w.input, EVEN), factorAt(333, w.output, EVEN)];
          // A float on the edge between two integers may round either way.
          expect(Math.abs(found[i]![n]! - (beta + w.gamma[n]! * y) / x)).toBeLessThanOrEqual(0.501);
          expect(Number.isInteger(found[i]![n]!)).toBe(true);
        }
  });

  it.each([13, 17, 18, 23])("in operators of opset %i", async (opset) => {
    const profile = Float64Array.of(4, 2, 1);
    const wanted: Wanted[] = [
      { kind: "scale", base: [3], profile },
      { kind: "bias", beta: [8, 16], gamma: [0, 0], input: profile, output: null },
    ];
    const timed: Timed = { dtype: "i64", shape: ["batch"], timesteps: [500, 100] };
    for (const bounds of [null, [300]]) {
      const { model } = clocked(timed, [900, 500, 100], wanted, bounds, opset);
      const widest = bounds === null ? 2 : 4;
      expect(await valuesAt(model, timed)).toEqual([[3 * widest], [8 / widest, 16 / widest]]);
    }
  });

  it("one scale for all steps without a timestep input, or where a single timestep was calibrated", async () => {
    const wanted: Wanted[] = [
      { kind: "scale", base: [2, 3], profile: Float64Array.of(1) },
      { kind: "bias", beta: [3.4], gamma: [1.2], input: null, output: null },
    ];
    const timed: Timed = { dtype: "i64", shape: [1], timesteps: [7] };
    for (const t of [null, timed]) {
      const { model, table } = clocked(t, [500], wanted);
      expect(table).toEqual({ profiles: 0, bytes: 0, bucket: null });
      expect(await valuesAt(model, t)).toEqual([[2, 3], [5]]);
    }
  });

  it.each(FORMS)("$name: steps at the bounds, which belong to the bucket above", async (form) => {
    const { dtype, shape, count } = form;
    const bounds = [50, 150.5, 700];
    const timesteps = [900, 600, 300, 120, 60, 10];
    const profile = Float64Array.of(0.5, 1, 1, 2, 2, 4);
    const levels = [4, 2, 1, 0.5];
    const wanted: Wanted[] = [
      { kind: "scale", base: [3], profile },
      { kind: "scale", base: [1, 2], profile },
      { kind: "scale", base: [8], profile: null },
    ];
    const timed = { dtype, shape, timesteps: new Array<number>(count).fill(0) };
    const { model, table } = clocked(timed, timesteps, wanted, bounds);
    expect(table).toMatchObject({ profiles: 1, bytes: 4 * 4 });
    expect(table.bucket).not.toBeNull();
    for (const at of [-5, 0, 49, 50, 51, 150, 151, 699, 700, 5000]) {
      const moved = { ...timed, timesteps: timed.timesteps.map((_, i) => (i === 0 ? at : 50)) };
      const of = (t: number): number => levels[bounds.filter((b) => t >= b).length]!;
      const p = Math.max(...moved.timesteps.map(of));
      expect(await valuesAt(model, moved)).toEqual([[3 * p], [p, 2 * p], [8]]);
    }
  });
});
