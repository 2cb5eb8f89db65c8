import { describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { floatAttr, type Model } from "../../../src/ir/graph.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { factorizeLinear } from "../../../src/passes/factorize/factorize-linear.ts";
import { createRuntime } from "../../../src/runtime/index.ts";
import { target } from "../../../src/targets/index.ts";
import { ops } from "../harness.ts";
import { feedsOf, LAYERS, modelOf } from "../quantize/layered.ts";
import { factorize, outputSqnr, run } from "./factorized.ts";

const rng = createRng(5);
const normal = (dims: readonly number[], size = 1): Float32Array =>
  Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => size * rng.normal());
const tensor = (dims: readonly number[], size = 0.1): Tensor => f32Tensor(normal(dims, size), dims);

/** Relative distance of two figures in dB as a ratio of energies. */
const apart = (a: number, b: number): number => Math.abs(10 ** ((a - b) / 10) - 1);

const outputs = (r: readonly Map<string, Dense>[], name: string): Dense[] => r.map((m) => m.get(name)!);

/** Queries, keys and values of one input, a query with a bias of its own each. */
function projections(): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [2, 50, 48]);
  for (const name of ["q", "k", "v"]) {
    const y = b.node("MatMul", [x, b.constant(tensor([48, 48]))], {}, { name });
    const z = b.node("Add", [y, b.constant(tensor([48], 1))]);
    b.output(z, `${name}_out`, tensorType("f32", [2, 50, 48]));
  }
  return b.build();
}
const feeds = (): Map<string, Dense>[] => feedsOf([2, 50, 48]);

describe("linear layers as products", () => {
  const cases = Object.keys(LAYERS).flatMap((layer) =>
    (["activations", "none"] as const).map((weighting) => ({ layer, weighting })),
  );
  it.each(cases)(
    "$layer, weighed by $weighting: off by as much as predicted",
    async ({ layer, weighting }) => {
      const c = LAYERS[layer]!;
      const [before, model] = [modelOf(c), modelOf(c)];
      const inputs = feedsOf(c.dims);
      const decisions = await factorize(model, factorizeLinear, {
        options: { budget: { rank: 8 }, weighting },
        feeds: inputs,
      });
      const line = decisions.find((d) => d.node === "layer")!;
      expect(line).toMatchObject({ kind: "applied", to: "rank 8" });
      expect(line.bytesAfter!).toBeLessThan(line.bytesBefore!);
      const [y, z] = [outputs(await run(before, inputs), "y"), outputs(await run(model, inputs), "y")];
      if (weighting === "activations") {
        const found = outputSqnr(y, z, { axis: c.axis, centre: c.bias });
        expect(apart(line.error!.value, found)).toBeLessThan(1e-3);
      } else expect(line.rule).toBe("low-rank-plain");
    },
  );

  it("fit the inputs they see better than plain factors do", async () => {
    for (const layer of ["MatMul", "Conv"]) {
      const c = LAYERS[layer]!;
      const inputs = feedsOf(c.dims);
      const found: number[] = [];
      for (const weighting of ["activations", "none"] as const) {
        const model = modelOf(c);
        await factorize(model, factorizeLinear, {
          options: { budget: { rank: 8 }, weighting },
          feeds: inputs,
        });
        const [y, z] = [outputs(await run(modelOf(c), inputs), "y"), outputs(await run(model, inputs), "y")];
        found.push(outputSqnr(y, z, { axis: c.axis, centre: false }));
      }
      expect(found[0]! - found[1]!).toBeGreaterThan(1);
    }
  });

  it("of full rank are the layer itself", async () => {
    const b = new ModelBuilder({ opset: 21 });
    const x = b.input("x", "f32", [30, 64]);
    const low = normal([64, 4], 0.3);
    const right = normal([4, 64], 0.3);
    const w = new Float32Array(64 * 64);
    for (let i = 0; i < 64; i++)
      for (let j = 0; j < 64; j++)
        for (let k = 0; k < 4; k++) w[i * 64 + j]! += low[i * 4 + k]! * right[k * 64 + j]!;
    const y = b.node("Gemm", [x, b.constant(f32Tensor(w, [64, 64])), b.constant(tensor([64]))], {
      alpha: 0.5,
      beta: floatAttr(2),
    });
    const model = b.output(y, "y", tensorType("f32", [30, 64])).build();
    const before = cloneModel(model);
    const inputs = [new Map([["x", denseFrom("f32", [30, 64], normal([30, 64]))]])];
    await factorize(model, factorizeLinear, { options: { budget: { rank: 4 } }, feeds: inputs });
    expect(ops(model)).toEqual(["MatMul", "Gemm"]);
    const [p, q] = [outputs(await run(before, inputs), "y"), outputs(await run(model, inputs), "y")];
    expect(outputSqnr(p, q, { axis: 1, centre: false })).toBeGreaterThan(100);
  });

  it("that read one input share the first factor, each off by as much as predicted", async () => {
    const model = projections();
    const before = cloneModel(model);
    const decisions = await factorize(model, factorizeLinear, {
      options: { budget: { rank: 16 } },
      feeds: feeds(),
    });
    expect(ops(model)).toEqual(["MatMul", "MatMul", "Add", "MatMul", "Add", "MatMul", "Add"]);
    const [y, z] = [await run(before, feeds()), await run(model, feeds())];
    let shared = 0;
    for (const name of ["q", "k", "v"]) {
      const found = outputSqnr(outputs(y, `${name}_out`), outputs(z, `${name}_out`), {
        axis: 2,
        centre: true,
      });
      const line = decisions.find((d) => d.node === name)!;
      expect(line.rule).toBe("low-rank-shared");
      expect(apart(line.error!.value, found)).toBeLessThan(1e-3);
      shared += line.bytesAfter!;
    }
    const alone = await factorize(cloneModel(before), factorizeLinear, {
      options: { budget: { rank: 16 }, merge: false },
      feeds: feeds(),
    });
    expect(shared).toBeLessThan(alone.reduce((n, d) => n + (d.bytesAfter ?? 0), 0));
  });

  it("are refused where factors take as many operations, or by the cost model as much time", async () => {
    const model = modelOf(LAYERS["MatMul"]!);
    const decisions = await factorize(model, factorizeLinear, { options: { budget: { rank: 40 } } });
    expect(decisions.find((d) => d.rule === "no-gain")).toMatchObject({
      kind: "skipped",
      node: "layer",
      why: expect.stringMatching(/operations as the layer/),
    });
    expect(ops(model)).toEqual(["MatMul"]);
    const slower = await factorize(modelOf(LAYERS["MatMul"]!), factorizeLinear, {
      options: { budget: { rank: 24 } },
      target: target("cpu-x64"),
    });
    expect(slower.find((d) => d.rule === "no-gain")).toMatchObject({
      why: expect.stringMatching(/no less time/),
    });
  });

  it("share a budget by what they need: those of low rank give most", async () => {
    const make = (): Model => {
      const b = new ModelBuilder({ opset: 21 });
      const x = b.input("x", "f32", [100, 64]);
      const thin = normal([64, 64], 0.002);
      const [p, q] = [normal([64, 8], 0.3), normal([8, 64], 0.3)];
      for (let i = 0; i < 64; i++)
        for (let j = 0; j < 64; j++)
          for (let k = 0; k < 8; k++) thin[i * 64 + j]! += p[i * 8 + k]! * q[k * 64 + j]!;
      const h = b.node("Tanh", [
        b.node("MatMul", [x, b.constant(f32Tensor(thin, [64, 64]))], {}, { name: "thin" }),
      ]);
      const y = b.node("MatMul", [h, b.constant(tensor([64, 64]))], {}, { name: "full" });
      return b.output(y, "y", tensorType("f32", [100, 64])).build();
    };
    const inputs = feedsOf([100, 64]);
    const decisions = await factorize(make(), factorizeLinear, {
      options: { budget: { keep: 0.65 } },
      feeds: inputs,
    });
    expect(decisions.find((d) => d.rule === "sensitivity")).toMatchObject({ kind: "downgraded" });
    expect(decisions.filter((d) => d.rule === "allocation")).toMatchObject([
      { kind: "applied", node: "" },
      { kind: "skipped", node: "full", count: 1 },
    ]);
    expect(decisions.filter((d) => d.rule === "low-rank").map((d) => d.node)).toEqual(["thin"]);
    const more = await factorize(make(), factorizeLinear, {
      options: { budget: { keep: 0.01 } },
      feeds: inputs,
    });
    expect(more.find((d) => d.rule === "allocation")).toMatchObject({ kind: "downgraded" });
    expect(more.filter((d) => d.rule === "low-rank").map((d) => d.to)).toEqual(["rank 4", "rank 4"]);
  });

  it("are left alone with a reason: shared weights, groups, transposed inputs", async () => {
    const b = new ModelBuilder({ opset: 21 });
    const x = b.input("x", "f32", [32, 32]);
    const w = b.constant(tensor([32, 32]));
    const one = b.node("MatMul", [x, w], {}, { name: "one" });
    const two = b.node("MatMul", [one, w], {}, { name: "two" });
    const turned = b.node("Gemm", [two, b.constant(tensor([32, 32]))], { transA: 1 }, { name: "turned" });
    const model = b.output(turned, "y", tensorType("f32", [32, 32])).build();
    const version = model.graph.version;
    const decisions = await factorize(model, factorizeLinear, { options: { budget: { rank: 4 } } });
    expect(decisions.map((d) => [d.rule, d.count])).toEqual([
      ["shared-weight", 2],
      ["layer-kind", 1],
    ]);
    expect(model.graph.version).toBe(version);
  });

  it("give the same bytes on any number of threads", async () => {
    const bytes: Uint8Array[] = [];
    const source = projections();
    for (const workers of [0, 2]) {
      const model = cloneModel(source);
      await factorize(model, factorizeLinear, {
        options: { budget: { rank: 12 }, score: false },
        feeds: feeds(),
      });
      const rt = await createRuntime({ workers });
      bytes.push(await encodeModel(model, rt.reader));
      await rt.close();
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});
