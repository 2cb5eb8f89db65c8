import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../src/calibrate/dense.ts";
import { conditioningEffect, guide } from "../../src/calibrate/guidance.ts";
import type { Oracle } from "../../src/calibrate/statistics/types.ts";
import { openSwitchboard, type Switch, switchboardModel } from "../../src/calibrate/switchboard.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { Graph, type Model, type ValueId } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { inlineTensor } from "../../src/ir/tensor.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { weightLayers } from "../../src/passes/quantize/layers.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { recordOracle, unetCalls } from "./oracle.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
const GUIDANCE = 2.5;

let runtime: Runtime;
let model: Model;
let oracle: Oracle;
let switches: Switch[];

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  model = await readModel(MODEL);
  const calls = unetCalls([20, 400, 700, 990], 3);
  oracle = await recordOracle({ model, runtime, calls, output: "out_sample", guidance: GUIDANCE, halves: 2 });
  switches = [];
  for (const l of weightLayers(model.graph, inferShapes(model))) {
    if (model.graph.constant(l.value) === null || l.tensor.dtype !== "f32") continue;
    const weight = { dtype: l.tensor.dtype, dims: l.tensor.dims, bytes: await runtime.reader.read(l.tensor) };
    switches.push({ value: l.value, weight });
  }
});
afterAll(async () => {
  await runtime.close();
});

/** The weight in coarser steps. */
function coarse(d: Dense, step: number): Dense {
  return denseFrom(
    "f32",
    d.dims,
    floats(d).map((x) => Math.round(x / step) * step),
  );
}

/** A copy of the model with other constants. */
function withWeights(weights: ReadonlyMap<ValueId, Dense>): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const values = [...graph.values()].map((v) => {
    const w = weights.get(v.id);
    return w === undefined ? v : { ...v, init: inlineTensor(w.dtype, w.dims, w.bytes) };
  });
  copy.graph = new Graph({
    ...graph,
    ids: graph.ids,
    name: graph.name,
    nodes: graph.nodes(),
    values,
    inputs: graph.inputs,
    outputs: graph.outputs,
  });
  return copy;
}

async function separately(
  setting: ReadonlyMap<ValueId, Dense>,
): Promise<{ quality: number; content: number }[]> {
  const [a, b] = [await oracle.open(model), await oracle.open(withWeights(setting))];
  const out = [];
  for (const c of oracle.calls) {
    const [x, y] = [(await a.run(c.feeds)).get("out_sample")!, (await b.run(c.feeds)).get("out_sample")!];
    const off = (p: Float32Array, q: Float32Array): number => p.reduce((s, v, i) => s + (v - q[i]!) ** 2, 0);
    out.push({
      quality: off(guide(x, 2, GUIDANCE), guide(y, 2, GUIDANCE)),
      content: off(conditioningEffect(x), conditioningEffect(y)),
    });
  }
  await a.release();
  await b.release();
  return out;
}

describe("switchboard", () => {
  it("is the model with inputs for weights, and leaves the model alone", () => {
    const before = model.graph.inputs.length;
    const made = switchboardModel(model, switches);
    expect(switches.length).toBeGreaterThan(100);
    expect(made.names).toHaveLength(switches.length);
    expect(made.model.graph.inputs).toHaveLength(before + switches.length);
    expect(model.graph.inputs).toHaveLength(before);
    expect(verifyModel(made.model).filter((d) => d.severity === "error")).toEqual([]);
  });

  it("measures what separate sessions measure, one weight or several exchanged", async () => {
    const board = await openSwitchboard(oracle, model, switches, { calls: 4, seeds: 3 });
    const at = (i: number): [ValueId, Dense] => {
      const s = switches[i]!;
      return [s.value, coarse(s.weight, 0.03)];
    };
    for (const setting of [new Map([at(0)]), new Map([at(57)]), new Map([at(3), at(40), at(110)])]) {
      const found = await board.measure(setting);
      const expected = await separately(setting);
      for (const [i, e] of expected.entries()) {
        expect(e.quality).toBeGreaterThan(0);
        expect(Math.abs(found.quality[i]! / e.quality - 1)).toBeLessThan(1e-3);
        expect(Math.abs(found.content![i]! / e.content - 1)).toBeLessThan(1e-3);
      }
    }
    expect([...(await board.measure(new Map())).quality]).toEqual([0, 0, 0, 0]);
    await board.release();
  });

  it("takes evenly spread calls and the first seeds of both halves", async () => {
    const board = await openSwitchboard(oracle, model, switches.slice(0, 1), { calls: 2, seeds: 1 });
    expect(board.calls.map((c) => c.timestep)).toEqual([20, 990]);
    const whole = oracle.calls[0]!;
    const cut = board.calls[0]!;
    const row = (d: Dense, k: number): Uint8Array =>
      d.bytes.subarray((k * d.bytes.length) / d.dims[0]!, ((k + 1) * d.bytes.length) / d.dims[0]!);
    for (const name of ["sample", "encoder_hidden_states"]) {
      const [a, b] = [whole.feeds.get(name)!, cut.feeds.get(name)!];
      expect(b.dims[0]).toBe(2);
      expect([...row(b, 0)]).toEqual([...row(a, 0)]);
      expect([...row(b, 1)]).toEqual([...row(a, 3)]);
    }
    expect(cut.feeds.get("timestep")!.dims).toEqual([1]);
    expect(board.signal.quality).toHaveLength(2);
    await board.release();
  });
});
