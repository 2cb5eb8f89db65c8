import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  collectFrom,
  openPipeline,
  openTeacher,
  type Pipeline,
  type Teacher,
} from "../../../src/calibrate/index.ts";
import { crossFrom } from "../../../src/calibrate/statistics/index.ts";
import { recordOracle } from "../../../src/calibrate/statistics/oracle.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { type PruneGroup, pruneAnalysis } from "../../../src/ir/anatomy/groups/index.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { eliminate } from "../../../src/numeric/prune/eliminate.ts";
import { cutColumns, type Reader, repairColumns } from "../../../src/numeric/prune/repair.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { Decision, HeldOut, PassContext } from "../../../src/passes/pass.ts";
import { removeUnits } from "../../../src/passes/prune/apply.ts";
import { type Cut, levelsOf, readerAt } from "../../../src/passes/prune/levels.ts";
import type { PruneOptions } from "../../../src/passes/prune/options.ts";
import { rank } from "../../../src/passes/prune/rank.ts";
import { gramsOf, readersOf } from "../../../src/passes/prune/readers.ts";
import { type ReaderError, refit } from "../../../src/passes/prune/refit.ts";
import { repaired } from "../../../src/passes/prune/repair.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { asF32 } from "../../../src/runtime/kernels/elements.ts";
import { cleanDenoiser, exposing } from "../../calibrate/statistics/fetched.ts";

const FIXTURE = fileURLToPath(new URL("../../../fixtures/cifar-unet", import.meta.url));

/** Random weights and moments of `samples` random inputs of rank above their number. */
function randomReader(
  seed: number,
  rows: number,
  size: number,
  centred: boolean,
): { reader: Reader; inputs: number[][] } {
  const rng = createRng(seed, "reader");
  const value = (): number => 2 * rng.float() - 1;
  const base = Array.from({ length: size }, () => Array.from({ length: size }, value));
  const inputs = Array.from({ length: 3 * size }, () => {
    const z = Array.from({ length: size }, value);
    return base.map((b) => 0.3 + b.reduce((s, v, i) => s + v * z[i]!, 0));
  });
  const n = inputs.length;
  const gram = new Float64Array(size * size);
  const mean = new Float64Array(size);
  for (const x of inputs)
    for (let i = 0; i < size; i++) {
      mean[i]! += x[i]! / n;
      for (let j = 0; j < size; j++) gram[i * size + j]! += (x[i]! * x[j]!) / n;
    }
  const weights = Float64Array.from({ length: rows * size }, value);
  return { reader: { weights, rows, size, gram, mean: centred ? mean : null }, inputs };
}

/** Mean squared error of the outputs, summed over rows, by running every input. */
function errorOf(
  reader: Reader,
  inputs: number[][],
  weights: Float64Array,
  correction: Float64Array | null,
): number {
  let sum = 0;
  for (const x of inputs)
    for (let r = 0; r < reader.rows; r++) {
      let d = -(correction?.[r] ?? 0);
      for (let i = 0; i < reader.size; i++)
        d += (reader.weights[r * reader.size + i]! - weights[r * reader.size + i]!) * x[i]!;
      sum += d * d;
    }
  return sum / inputs.length;
}

const cases = fc.record({
  seed: fc.nat(1000),
  rows: fc.integer({ min: 1, max: 5 }),
  size: fc.integer({ min: 3, max: 12 }),
  centred: fc.boolean(),
});

describe("repairColumns", () => {
  it("predicts the error of cutting and of repairing, and no nearby weights do better", () => {
    fc.assert(
      fc.property(cases, ({ seed, rows, size, centred }) => {
        const { reader, inputs } = randomReader(seed, rows, size, centred);
        const keep = Int32Array.from(
          Array.from({ length: size }, (_, i) => i).filter((i) => i % 3 !== seed % 3),
        );
        const cut = cutColumns(reader, keep);
        const fitted = repairColumns(reader, keep, 1e-10);
        for (const found of [cut, fitted])
          expect(found.noise).toBeCloseTo(errorOf(reader, inputs, found.weights, found.correction), 6);
        expect(fitted.noise).toBeLessThanOrEqual(cut.noise + 1e-9);
        const rng = createRng(seed, "nearby");
        const other = fitted.weights.slice();
        for (const k of keep) other[k] = other[k]! + 0.05 * (2 * rng.float() - 1);
        expect(errorOf(reader, inputs, other, fitted.correction)).toBeGreaterThanOrEqual(fitted.noise - 1e-9);
      }),
    );
  });
});

/** Costs are those of the damped problem: small enough not to show beside errors a millionth of the layer's output. */
const DAMP = 1e-13;

describe("eliminate", () => {
  it("adds up to the error of repairing at once, and starts with the unit that costs least", () => {
    fc.assert(
      fc.property(cases, ({ seed, rows, size, centred }) => {
        const { reader } = randomReader(seed, rows, size, centred);
        const units = Array.from({ length: Math.ceil(size / 2) }, (_, u) =>
          Int32Array.from([2 * u, 2 * u + 1].filter((i) => i < size)),
        );
        const most = units.length - 1;
        const { order, costs } = eliminate([{ reader, units, factor: 1 }], { damp: DAMP, most, batch: 1 });
        const without = (gone: readonly number[]): number => {
          const out = new Set(gone.flatMap((u) => [...units[u]!]));
          const keep = Int32Array.from(Array.from({ length: size }, (_, i) => i).filter((i) => !out.has(i)));
          return repairColumns(reader, keep, DAMP).noise;
        };
        const scale = without(order) + 1e-9;
        expect(Math.abs(costs.reduce((a, b) => a + b, 0) - without(order)) / scale).toBeLessThan(1e-5);
        for (const u of units.keys())
          expect(without([u])).toBeGreaterThanOrEqual(costs[0]! * (1 - 1e-5) - 1e-9);
      }),
    );
  });
});

describe("on a trained network", () => {
  let runtime: Runtime;
  let pipeline: Pipeline;
  let model: Model;
  let teacher: Teacher;
  let heldOut: Teacher;
  beforeAll(async () => {
    runtime = await createRuntime({ workers: 0 });
    pipeline = await openPipeline(FIXTURE);
    model = await cleanDenoiser(pipeline.denoiser!.model, runtime);
    const shared = { steps: 2, samples: 2, keepBytes: 1e8, original: model };
    teacher = await openTeacher(runtime, pipeline, { ...shared, seed: 3 });
    heldOut = await openTeacher(runtime, pipeline, { ...shared, steps: 3, seed: 11 });
  });
  afterAll(async () => {
    await teacher.release();
    await heldOut.release();
    await runtime.close();
  });

  const OPTIONS: PruneOptions = {
    ratio: 0.2,
    per: "flops",
    score: "obs",
    repair: true,
    allocate: "predicted",
    rounds: 1,
    packages: 1,
    most: 0.75,
    align: 1,
    damp: 1e-4,
    match: null,
    exclude: null,
    dims: {},
  };

  const recorded = new Map<Teacher, Promise<Oracle>>();

  /** Error of layers' outputs per position, weighted as the trajectory weighs its calls. */
  async function measuredErrors(from: Teacher, small: Model, names: readonly string[]): Promise<number[]> {
    const known = recorded.get(from) ?? recordOracle(from, runtime, pipeline);
    recorded.set(from, known);
    const { calls } = await known;
    const open = async (m: Model) =>
      await runtime.openSession(exposing(m, names), { threads: 1, optimize: "basic" });
    const [a, b] = [await open(model), await open(small)];
    const sums = names.map(() => 0);
    for (const call of calls) {
      const [x, y] = [await a.run(call.feeds, names), await b.run(call.feeds, names)];
      for (const [k, name] of names.entries()) {
        const [p, q] = [asF32(x.get(name)!), asF32(y.get(name)!)];
        const { dims } = x.get(name)!;
        const channels = dims.length === 4 ? dims[1]! : dims.at(-1)!;
        let d = 0;
        for (const [i, v] of p.entries()) d += (v - q[i]!) ** 2;
        sums[k]! += (call.weight * d * channels) / p.length / calls.length;
      }
    }
    await a.release();
    await b.release();
    return sums;
  }

  const measuredError = async (from: Teacher, small: Model, name: string): Promise<number> =>
    (await measuredErrors(from, small, [name]))[0]!;

  /** The output of what reads a cut, its bias included. */
  function outputOf(cut: Pick<Cut, "group" | "readers">): string {
    const [own] = model.graph.node(cut.group.consumers[0]!.node).outputs;
    const adds = cut.readers![0]!.layer.role.bias === null;
    const value = adds ? model.graph.node(model.graph.users(own!)[0]!).outputs[0]! : own!;
    return model.graph.value(value).name;
  }

  it.each(["inner", "ffn", "heads"] as const)(
    "predicts what repairing %s leaves, and holds on other seeds and steps",
    async (kind) => {
      const shapes = inferShapes(model);
      const analysis = pruneAnalysis(model, shapes);
      const group: PruneGroup = analysis.groups.find((g) => g.kind === kind)!;
      const request = gramsOf(model.graph, shapes, [group])!;
      const all = { model, runtime, pipeline, request, oversampling: Number.POSITIVE_INFINITY };
      const statistics = await collectFrom(teacher, all);
      const readers = await readersOf(model.graph, shapes, group, { statistics, reader: runtime.reader });
      const order = await rank(model.graph, group, readers, OPTIONS, runtime.reader);
      const levels = levelsOf(group, readers, order, OPTIONS);
      const count = Math.max(1, group.units.length >> 2);
      const cut = { group, readers, order, levels };
      const predicted = readerAt(readers![0]!, order, count, OPTIONS).noise;
      const small = cloneModel(model);
      const units = new Set(order.slice(0, count).map((u) => group.units[u]!));
      removeUnits(small, analysis, units, repaired([cut], [count], OPTIONS, { graph: model.graph }));
      const name = outputOf(cut);
      const found = await measuredError(teacher, small, name);
      expect(Math.abs(found / predicted - 1)).toBeLessThan(1e-3);
      // On other seeds and timesteps it is not what was predicted, but better than leaving the weights alone.
      const plain = cloneModel(model);
      removeUnits(plain, analysis, units);
      const [held, unrepaired] = [
        await measuredError(heldOut, small, name),
        await measuredError(heldOut, plain, name),
      ];
      expect(held).toBeLessThan(unrepaired);
    },
    120_000,
  );

  it("refits later packages behind earlier ones, and predicts what that leaves of the original's outputs", async () => {
    const shapes = inferShapes(model);
    const analysis = pruneAnalysis(model, shapes);
    const inner = analysis.groups.filter((g) => g.kind === "inner");
    const groups = [inner[0]!, inner.at(-1)!, analysis.groups.find((g) => g.kind === "ffn")!];
    const all = { runtime, pipeline, oversampling: Number.POSITIVE_INFINITY };
    const request = gramsOf(model.graph, shapes, groups)!;
    const statistics = await collectFrom(teacher, { ...all, model, request });
    const cuts: Cut[] = [];
    for (const group of groups) {
      const readers = await readersOf(model.graph, shapes, group, { statistics, reader: runtime.reader });
      const order = await rank(model.graph, group, readers, OPTIONS, runtime.reader);
      cuts.push({ group, readers, order, levels: [] });
    }
    const counts = groups.map((g) => Math.max(1, g.units.length >> 1));
    const from = (t: Teacher): HeldOut => ({
      collect: async (asked, of = model) => await collectFrom(t, { ...all, model: of, request: asked }),
      collectCross: async (requests, original, of = model) =>
        await crossFrom(t, { ...all, compressed: of, original, requests }),
    });
    const decisions: Decision[] = [];
    const ctx = {
      model,
      reader: runtime.reader,
      shapes: () => shapes,
      ...from(teacher),
      heldOut: from(heldOut),
      decide: (d: Decision) => decisions.push(d),
    } as unknown as PassContext;
    const going = { analysis, cuts, counts, original: { model, shapes }, compressed: false };
    const { overrides, errors } = await refit(going, { ...OPTIONS, packages: 3 }, ctx);
    expect(decisions).toEqual([]);
    const small = cloneModel(model);
    const units = new Set(cuts.flatMap((c, i) => c.order.slice(0, counts[i]).map((u) => c.group.units[u]!)));
    removeUnits(small, analysis, units, overrides);
    const blind = cloneModel(model);
    removeUnits(blind, analysis, units, repaired(cuts, counts, OPTIONS, { graph: model.graph }));
    const names = cuts.map(outputOf);
    const found = await measuredErrors(teacher, small, names);
    const other = await measuredErrors(heldOut, small, names);
    const plain = await measuredErrors(teacher, blind, names);
    for (const [i, cut] of cuts.entries()) {
      const [{ predicted, heldOut: held }] = errors.get(cut) as [ReaderError];
      expect(Math.abs(found[i]! / predicted.noise - 1)).toBeLessThan(1e-3);
      expect(Math.abs(other[i]! / held!.noise - 1)).toBeLessThan(1e-3);
      expect(Math.abs(other[i]! / found[i]! - 1)).toBeGreaterThan(1e-3);
    }
    // The first package has nothing before it; some later one has, and gains.
    const gains = found.map((f, i) => f / plain[i]!);
    expect(Math.max(...gains)).toBeLessThan(1 + 1e-6);
    expect(Math.min(...gains)).toBeLessThan(0.999);
  }, 120_000);
});
