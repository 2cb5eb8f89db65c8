import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  collectStatistics,
  floats,
  openPipeline,
  openTeacher,
  type Pipeline,
  type StatisticsRequest,
} from "../../../src/calibrate/index.ts";
import type { Model, Node } from "../../../src/ir/graph.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { cleanDenoiser, exposing, gramOf, identical, im2col, relative, rowsOf } from "./fetched.ts";

const FIXTURE = fileURLToPath(new URL("../../../fixtures/cifar-unet", import.meta.url));
const SETTINGS = { steps: 3, samples: 3, batch: 2, seed: 7, guidance: 2 };
const UNFOLD = { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1] } as const;

let runtime: Runtime;
let pipeline: Pipeline;
let model: Model;
let conv: Node;
let forced: typeof SETTINGS & { original: Model };
let matmul: Node;

const nameOf = (node: Node, i: number): string => model.graph.value(node.inputs[i]!).name;

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  pipeline = await openPipeline(FIXTURE);
  model = await cleanDenoiser(pipeline.denoiser!.model, runtime);
  forced = { ...SETTINGS, original: model };
  const nodes = [...model.graph.nodes()];
  conv = nodes.filter((n) => n.op === "Conv" && model.graph.constant(n.inputs[1])?.dims[2] === 3)[3]!;
  matmul = nodes.find((n) => n.op === "MatMul" && model.graph.constant(n.inputs[1]) !== null)!;
});
afterAll(() => runtime.close());

function request(rows = 10): StatisticsRequest {
  return {
    values: [
      { name: nameOf(conv, 0), axis: 1, rows },
      { name: nameOf(matmul, 0), axis: -1, rows: 0 },
      { name: "sample", axis: null, rows },
    ],
    grams: [
      { layer: conv.name, value: nameOf(conv, 0), axis: 1, unfold: UNFOLD },
      { layer: matmul.name, value: nameOf(matmul, 0), axis: -1, unfold: null, buckets: [[0], [1, 2]] },
    ],
  };
}

/** Whole activations of a model at every input the original saw, call by call. */
async function activations(of: Model, name: string) {
  const session = await runtime.openSession(exposing(of, [name]), {});
  const teacher = await openTeacher(runtime, pipeline, forced);
  const calls: { dims: readonly number[]; data: Float32Array }[][] = teacher.calls.map(() => []);
  await teacher.visit(async ({ call, feeds }) => {
    const d = (await session.run(feeds, [name])).get(name)!;
    calls[call]!.push({ dims: d.dims, data: floats(d) });
  });
  await session.release();
  await teacher.release();
  return calls;
}

describe("collected statistics", () => {
  it("are those of the fetched activations", async () => {
    const s = await collectStatistics(model, runtime, pipeline, request(), {
      ...forced,
      oversampling: Number.POSITIVE_INFINITY,
    });
    expect(s.calls.map((c) => c.weight)).toEqual([1, 1, 1]);
    const whole = await activations(model, nameOf(conv, 0));
    const v = s.value(nameOf(conv, 0))!;
    for (const [c, parts] of whole.entries()) {
      const rows = parts.flatMap((p) => rowsOf(p, 1));
      expect(v.count).toBe(rows.length);
      for (let k = 0; k < v.channels; k++) {
        const column = rows.map((r) => r[k]!);
        const at = c * v.channels + k;
        expect(v.min[at]).toBeCloseTo(Math.min(...column), 4);
        expect(v.max[at]).toBeCloseTo(Math.max(...column), 4);
        expect(v.mean[at]).toBeCloseTo(column.reduce((a, b) => a + b, 0) / column.length, 4);
        expect(v.square[at]).toBeCloseTo(column.reduce((a, b) => a + b * b, 0) / column.length, 3);
      }
      for (let r = 0; r < v.rows; r++) {
        const kept = v.sample.subarray((c * v.rows + r) * v.channels, (c * v.rows + r + 1) * v.channels);
        expect(Math.min(...rows.map((x) => relative(kept, x)))).toBeLessThan(1e-4);
      }
    }
    expect(v.rows).toBe(10);
    const patches = whole.flat().flatMap((p) => im2col(p, UNFOLD));
    const gram = s.gram(conv.name)!;
    expect(gram).toMatchObject({ size: patches[0]!.length, positions: [patches.length], exact: true });
    expect(
      relative(
        gram.sums[0]!,
        gramOf(patches).map((x) => x / patches.length),
      ),
    ).toBeLessThan(1e-5);
    const mean = patches[0]!.map((_, k) => patches.reduce((a, r) => a + r[k]!, 0) / patches.length);
    expect(relative(gram.means[0]!, mean)).toBeLessThan(1e-5);
  });

  it("sum buckets apart and report the rank", async () => {
    const s = await collectStatistics(model, runtime, pipeline, request(), {
      ...forced,
      oversampling: Number.POSITIVE_INFINITY,
    });
    const whole = await activations(model, nameOf(matmul, 0));
    const rank = whole[0]![0]!.dims.length;
    const gram = s.gram(matmul.name)!;
    for (const [b, members] of [[0], [1, 2]].entries()) {
      const rows = members.flatMap((c) => whole[c]!.flatMap((p) => rowsOf(p, rank - 1)));
      expect(gram.positions[b]).toBe(rows.length);
      expect(
        relative(
          gram.sums[b]!,
          gramOf(rows).map((x) => x / rows.length),
        ),
      ).toBeLessThan(1e-5);
    }
    const distinct = new Set(
      whole.flat().flatMap((p) => rowsOf(p, rank - 1).map((r) => r.map((x) => x.toFixed(4)).join())),
    );
    expect(gram.rank).toBeGreaterThan(0);
    expect(gram.rank).toBeLessThanOrEqual(Math.min(distinct.size, gram.size));
  });

  it("look at a few positions of every call when that is enough", async () => {
    const s = await collectStatistics(model, runtime, pipeline, request(), { ...forced, oversampling: 2 });
    const { size, positions } = s.gram(conv.name)!;
    const all = s.value(nameOf(conv, 0))!.count * 3;
    expect(positions[0]).toBeGreaterThanOrEqual(Math.min(all, 2 * size));
    expect(positions[0]).toBeLessThan(all);
  });

  it("are the same again, in several rounds, and on kept inputs", async () => {
    const few = { ...forced, steps: 2 };
    const buckets = [[0], [1]];
    const wanted = {
      ...request(),
      grams: request().grams.map((g) => ({ ...g, ...(g.buckets && { buckets }) })),
    };
    const collect = (more = {}) => collectStatistics(model, runtime, pipeline, wanted, { ...few, ...more });
    const one = await collect();
    const others = [await collect({ roundBytes: 1, keepBytes: 1e9 })];
    for (const other of others) {
      for (const v of request().values) expect(other.value(v.name)).toEqual(one.value(v.name));
      for (const g of request().grams) {
        expect(identical(other.gram(g.layer)!.sums, one.gram(g.layer)!.sums)).toBe(true);
        expect(other.gram(g.layer)!.rank).toBe(one.gram(g.layer)!.rank);
      }
    }
  });

  it("leave out what the model does not compute", async () => {
    const s = await collectStatistics(
      model,
      runtime,
      pipeline,
      { values: [...request().values, { name: "nothing", axis: 1, rows: 0 }], grams: [] },
      forced,
    );
    expect(s.value("nothing")).toBeUndefined();
    expect(s.value("sample")).toBeDefined();
  });
});
