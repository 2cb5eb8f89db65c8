import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  collectCross,
  collectStatistics,
  floats,
  openOracle,
  openPipeline,
  openTeacher,
  type Pipeline,
} from "../../../src/calibrate/index.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Model, Node, ValueId } from "../../../src/ir/graph.ts";
import { PatchBuilder } from "../../../src/ir/patch.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { sqnr } from "../../../src/verify/metrics/sqnr.ts";
import { cleanDenoiser, exposing, gramOf, relative, rowsOf } from "./fetched.ts";

const FIXTURE = fileURLToPath(new URL("../../../fixtures/cifar-unet", import.meta.url));
const SETTINGS = { steps: 2, samples: 3, batch: 2, seed: 7, guidance: 2 };

let runtime: Runtime;
let pipeline: Pipeline;
let model: Model;
let louder: Model;
let layer: Node;
let forced: typeof SETTINGS & { original: Model };
let input: string;

/** The model with the output of its first convolution scaled: everything behind it sees other inputs. */
function disturbed(source: Model, at: ValueId, factor: number): Model {
  const copy = cloneModel(source);
  const users = copy.graph.users(at).map((id) => copy.graph.node(id));
  const patch = new PatchBuilder(copy.graph, "disturb");
  const [scaled] = patch.node({ op: "Mul", inputs: [at, patch.constant(f32Tensor([factor], []))] });
  for (const user of users) patch.replace(user, { inputs: user.inputs.map((i) => (i === at ? scaled : i)) });
  patch.apply();
  return copy;
}

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  pipeline = await openPipeline(FIXTURE);
  model = await cleanDenoiser(pipeline.denoiser!.model, runtime);
  forced = { ...SETTINGS, original: model };
  const nodes = [...model.graph.nodes()];
  louder = disturbed(model, nodes.find((n) => n.op === "Conv")!.outputs[0]!, 1.5);
  layer =
    nodes.find((n) => n.op === "MatMul" && model.graph.constant(n.inputs[1])?.dims[0] === 32) ??
    nodes.filter((n) => n.op === "MatMul" && model.graph.constant(n.inputs[1]) !== null).at(-1)!;
  input = model.graph.value(layer.inputs[0]!).name;
});
afterAll(() => runtime.close());

/** Rows of the layer's input in a model at every input the original saw. */
async function rowsIn(of: Model): Promise<number[][]> {
  const session = await runtime.openSession(exposing(of, [input]), {});
  const teacher = await openTeacher(runtime, pipeline, forced);
  const rows: number[][] = [];
  await teacher.visit(async ({ feeds }) => {
    const d = (await session.run(feeds, [input])).get(input)!;
    rows.push(...rowsOf({ dims: d.dims, data: floats(d) }, d.dims.length - 1));
  });
  await session.release();
  await teacher.release();
  return rows;
}

describe("teacher forcing", () => {
  it("gives a compressed model the inputs the original saw", async () => {
    const request = {
      values: [
        { name: "sample", axis: null, rows: 0 },
        { name: input, axis: -1, rows: 0 },
      ],
      grams: [],
    };
    const own = await collectStatistics(model, runtime, pipeline, request, forced);
    const other = await collectStatistics(louder, runtime, pipeline, request, forced);
    expect(other.value("sample")).toEqual(own.value("sample"));
    expect(other.value(input)!.mean).not.toEqual(own.value(input)!.mean);
    const rows = await rowsIn(louder);
    const v = other.value(input)!;
    const total = Array.from({ length: v.channels }, (_, c) => (v.mean[c]! + v.mean[v.channels + c]!) / 2);
    const expected = total.map((_, c) => rows.reduce((a, r) => a + r[c]!, 0) / rows.length);
    expect(relative(total, expected)).toBeLessThan(1e-4);
  });

  it("crosses the inputs of a layer in both models at equal positions", async () => {
    const request = { layer: layer.name, value: input, axis: -1, unfold: null };
    const pair = { compressed: louder, original: model };
    const found = await collectCross(pair, runtime, pipeline, [request], {
      ...forced,
      oversampling: Number.POSITIVE_INFINITY,
    });
    const { size, cross, own, ownMean, originalMean, positions } = found.get(layer.name)!;
    const [a, b] = [await rowsIn(louder), await rowsIn(model)];
    expect(positions).toBe(a.length);
    const expected = new Float64Array(size * size);
    for (const [r, x] of a.entries())
      for (let i = 0; i < size; i++)
        for (let j = 0; j < size; j++) expected[i * size + j]! += (x[i]! * b[r]![j]!) / a.length;
    expect(relative(cross, expected)).toBeLessThan(1e-5);
    expect(
      relative(
        own,
        gramOf(a).map((v) => v / a.length),
      ),
    ).toBeLessThan(1e-5);
    const mean = (rows: number[][]) =>
      rows[0]!.map((_, k) => rows.reduce((s, r) => s + r[k]!, 0) / rows.length);
    expect(relative(ownMean, mean(a))).toBeLessThan(1e-5);
    expect(relative(originalMean, mean(b))).toBeLessThan(1e-5);
  });

  it("weighs calls as a request says, and gives the original's moments where asked", async () => {
    const pair = { compressed: louder, original: model };
    const base = { layer: layer.name, value: input, axis: 1, unfold: null } as const;
    const by = async (weights: readonly number[]) => {
      const requests = [{ ...base, weights, full: true }];
      return (await collectCross(pair, runtime, pipeline, requests, forced)).get(layer.name)!;
    };
    const [first, second, both] = [await by([2, 0]), await by([0, 2]), await by([1, 1])];
    for (const part of ["cross", "own", "ownMean", "originalMean", "original"] as const) {
      const sum = first[part]!.map((v, i) => (v + second[part]![i]!) / 2);
      expect(relative(both[part]!, sum)).toBeLessThan(1e-5);
      expect(relative(first[part]!, second[part]!)).toBeGreaterThan(1e-3);
    }
    const same = await collectCross(
      { compressed: model, original: model },
      runtime,
      pipeline,
      [base],
      forced,
    );
    expect(relative(both.original!, same.get(layer.name)!.own)).toBeLessThan(1e-5);
    expect(same.get(layer.name)!.original).toBeUndefined();
  });
});

describe("the oracle", () => {
  it("judges a candidate by the guided output at the original's inputs", async () => {
    const oracle = await openOracle(model, runtime, pipeline, forced);
    expect(oracle.calls).toHaveLength(2);
    expect(oracle).toMatchObject({ guidance: 2, halves: 2, output: "out_sample" });
    const same = await oracle.errors(model);
    expect(same.worst).toBeGreaterThan(100);
    const errors = await oracle.errors(louder);
    const session = await oracle.open(louder);
    expect(await oracle.errors(session)).toEqual(errors);
    for (const [i, call] of oracle.calls.entries()) {
      const found = floats((await session.run(call.feeds)).get("out_sample")!);
      const expected = floats(call.outputs.get("out_sample")!);
      const half = expected.length / 2;
      const guided = (x: Float32Array) =>
        Float32Array.from({ length: half }, (_, k) => x[k]! + 2 * (x[half + k]! - x[k]!));
      expect(call.feeds.get("sample")!.dims[0]).toBe(6);
      expect(errors.sqnr[i]).toBeCloseTo(sqnr(guided(expected), guided(found)), 3);
    }
    await session.release();
    expect(errors.mean).toBeCloseTo((errors.sqnr[0]! + errors.sqnr[1]!) / 2, 9);
    expect(errors.worst).toBe(Math.min(...errors.sqnr));
  });

  it("records fewer calls where they would take too much", async () => {
    const few = await openOracle(model, runtime, pipeline, { ...forced, steps: 4, samples: 1, maxCalls: 2 });
    const all = await openOracle(model, runtime, pipeline, { ...forced, steps: 4, samples: 1 });
    expect(few.calls.map((c) => c.timestep)).toEqual([all.calls[0]!.timestep, all.calls[3]!.timestep]);
    const one = await openOracle(model, runtime, pipeline, { ...forced, samples: 1, maxBytes: 1 });
    expect(one.calls).toHaveLength(1);
  });
});
