import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CallErrors, Oracle } from "../../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import { spreadCalls } from "../../../../src/passes/fidelity-floor.ts";
import {
  type Candidate,
  chooseSites,
  MEASURED_CALLS,
} from "../../../../src/passes/quantize/static/damage.ts";
import type { SitePlan } from "../../../../src/passes/quantize/static/plan.ts";

const CALLS = 4;
const SIGNAL = 1000;

function errorsOf(noise: Float64Array): CallErrors {
  const signal = new Float64Array(CALLS).fill(SIGNAL);
  const sqnr = signal.map((s, t) => 10 * Math.log10(s / noise[t]!));
  return { signal, noise, sqnr, mean: sqnr.reduce((a, b) => a + b, 0) / CALLS, worst: Math.min(...sqnr) };
}

/** A network whose damages add up to `interaction` times their sum. Plans are told apart by the name of their site. */
function world(
  sites: readonly { readonly noise: readonly number[]; readonly gain: number }[],
  interaction: number,
) {
  const candidates = sites.map(
    ({ noise, gain }, i): Candidate => ({
      // Choosing looks at what a plan costs, never into it.
      plan: { site: { name: String(i) } } as unknown as SitePlan,
      gain,
      alone: errorsOf(Float64Array.from(noise)),
    }),
  );
  const measured: string[][] = [];
  const build = (plans: readonly SitePlan[]): Model => {
    const b = new ModelBuilder({ name: plans.map((p) => p.site.name).join() });
    return b.output(b.node("Identity", [b.constant(f32Tensor([1]))]), "y").build();
  };
  const together = (names: readonly string[]): CallErrors => {
    const noise = new Float64Array(CALLS).fill(1e-12);
    for (const n of names)
      for (const [t, v] of sites[Number(n)]!.noise.entries()) noise[t] = noise[t]! + v * interaction;
    return errorsOf(noise);
  };
  const oracle = {
    async errors(candidate) {
      const names = (candidate as Model).graph.name.split(",").filter((n) => n !== "");
      measured.push(names);
      return together(names);
    },
  } as Partial<Oracle> as Oracle;
  return { candidates, measured, together, given: { oracle, calls: [0, 1, 2, 3], build } };
}

const names = (of: readonly Candidate[]): string[] => of.map((c) => c.plan.site.name);
const even = (n: number): number[] => new Array<number>(CALLS).fill(n);

describe("layers chosen by measured damage", () => {
  it("keeps all that meet the floor together", async () => {
    const w = world(
      [
        { noise: even(0.1), gain: 1 },
        { noise: even(0.2), gain: 1 },
      ],
      1,
    );
    const c = await chooseSites(w.candidates, { mean: 30, worst: 30 }, w.given);
    expect(names(c.kept)).toEqual(["0", "1"]);
    expect(c.dropped).toEqual([]);
    expect(c.together!.mean).toBeCloseTo(10 * Math.log10(SIGNAL / 0.3), 6);
    expect(c.additivity).toBeCloseTo(1, 6);
  });

  it("drops the most damage per second first, not the most damage", async () => {
    const w = world(
      [
        { noise: even(3), gain: 30 },
        { noise: even(2), gain: 1 },
        { noise: even(0.1), gain: 1 },
      ],
      1,
    );
    // 5.1 in all is 22.9 dB; 3.1 is 25.1 dB.
    const c = await chooseSites(w.candidates, { mean: 25, worst: 25 }, w.given);
    expect(names(c.dropped)).toEqual(["1"]);
    expect(names(c.kept)).toEqual(["0", "2"]);
  });

  it("looks at the step that misses its goal", async () => {
    const w = world(
      [
        { noise: [5, 5, 5, 0.01], gain: 1 },
        { noise: [0.01, 0.01, 0.01, 8], gain: 1 },
      ],
      1,
    );
    const c = await chooseSites(w.candidates, { mean: 0, worst: 22 }, w.given);
    expect(names(c.dropped)).toEqual(["1"]);
  });

  it.each([0.5, 2, 4])(
    "measures the whole and corrects what it predicted: damages add up to %d",
    async (k) => {
      const w = world(
        Array.from({ length: 12 }, (_, i) => ({ noise: even(0.5 + 0.1 * i), gain: 1 })),
        k,
      );
      const floor = { mean: 22, worst: 22 };
      const c = await chooseSites(w.candidates, floor, w.given);
      expect(c.additivity).toBeCloseTo(k, 6);
      expect(c.together!.mean).toBeGreaterThanOrEqual(floor.mean);
      expect(c.together).toEqual(w.together(names(c.kept)));
      expect(w.measured.at(-1)).toEqual(names(c.kept));
      // What prediction alone would have kept misses the floor where damages amplify each other.
      if (k > 1) expect(w.measured.length).toBeGreaterThan(1);
    },
  );

  it("meets any floor that can be met, and measures what it returns", async () => {
    const sites = fc.array(
      fc.record({ seed: fc.nat(1000), gain: fc.double({ min: 0.01, max: 10, noNaN: true }) }),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(
        sites,
        fc.constantFrom(0.7, 1, 1.6),
        fc.integer({ min: 5, max: 40 }),
        async (drawn, k, goal) => {
          const w = world(
            drawn.map(({ seed, gain }) => {
              const rng = createRng(seed, "noise");
              return { gain, noise: Array.from({ length: CALLS }, () => 10 ** (2 * rng.normal() - 1)) };
            }),
            k,
          );
          const c = await chooseSites(w.candidates, { mean: goal + 3, worst: goal }, w.given);
          expect([...names(c.kept), ...names(c.dropped)].sort()).toEqual(names(w.candidates).sort());
          if (c.kept.length === 0) {
            expect(c.together).toBeNull();
            return;
          }
          expect(c.together).toEqual(w.together(names(c.kept)));
          expect(c.together!.mean).toBeGreaterThanOrEqual(goal + 3 - 1e-6);
          expect(c.together!.worst).toBeGreaterThanOrEqual(goal - 1e-6);
        },
      ),
      { numRuns: 100 },
    );
  });

  it("has nothing to choose from nothing", async () => {
    const w = world([], 1);
    const c = await chooseSites([], { mean: 90, worst: 90 }, w.given);
    expect(c).toEqual({ kept: [], dropped: [], together: null, additivity: 1 });
    expect(w.measured).toEqual([]);
  });
});

describe("calls that damages are measured on", () => {
  it("are all where there are few, both ends and evenly between otherwise", () => {
    expect(spreadCalls(5, MEASURED_CALLS)).toEqual([0, 1, 2, 3, 4]);
    expect(spreadCalls(20, MEASURED_CALLS)).toEqual([0, 4, 8, 11, 15, 19]);
    expect(spreadCalls(1000, 3)).toEqual([0, 500, 999]);
  });
});
