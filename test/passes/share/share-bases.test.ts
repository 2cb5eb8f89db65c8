import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, tensorBytes } from "../../../src/ir/tensor.ts";
import { modelTensors } from "../../../src/ir/weights.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { type ShareBasesOptions, shareBases } from "../../../src/passes/share/share-bases.ts";
import { createRuntime } from "../../../src/runtime/index.ts";
import { runtime } from "../harness.ts";
import { statisticsOver } from "../quantize/statistics.ts";

const INPUTS = 48;
const OUTPUTS = [64, 32, 40] as const;

function normal(dims: readonly number[], seed: number) {
  const rng = createRng(seed, "share");
  return f32Tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal()),
    dims,
  );
}

function identity(n: number) {
  return f32Tensor(
    Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
    [n, n],
  );
}

/** Three layers in the middle that read one value: a MatMul, a Gemm with a bias, and a Gemm the other way round. */
function model(): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", ["batch", INPUTS]);
  // Layers at both ends that change nothing: guards keep the first and last ones.
  const still = (v: ValueId, n: number): ValueId => b.node("MatMul", [v, b.constant(identity(n))]);
  const h = b.node("Tanh", [still(still(x, INPUTS), INPUTS)]);
  const ys = [
    b.node("MatMul", [h, b.constant(normal([INPUTS, OUTPUTS[0]], 1))], {}, { name: "one" }),
    b.node(
      "Gemm",
      [h, b.constant(normal([INPUTS, OUTPUTS[1]], 2)), b.constant(normal([OUTPUTS[1]], 3))],
      {},
      { name: "two" },
    ),
    b.node(
      "Gemm",
      [h, b.constant(normal([OUTPUTS[2], INPUTS], 4)), b.constant(normal([OUTPUTS[2]], 5))],
      { transB: 1 },
      { name: "three" },
    ),
  ];
  const wide = OUTPUTS.reduce((n, o) => n + o, 0);
  return b
    .output(still(b.node("Concat", ys, { axis: 1 }), wide), "y", {
      kind: "tensor",
      dtype: "f32",
      shape: null,
    })
    .build();
}

/** Inputs that fill few directions and a little of all others. */
function feeds(noise: number): Map<string, Dense>[] {
  const rng = createRng(7, "feeds");
  const basis = Float64Array.from({ length: 6 * INPUTS }, () => rng.normal());
  return [1, 2, 3].map(() => {
    const x = new Float32Array(40 * INPUTS);
    for (let r = 0; r < 40; r++) {
      const c = Array.from({ length: 6 }, () => 0.2 * rng.normal());
      for (let i = 0; i < INPUTS; i++) {
        let sum = noise * rng.normal();
        for (let k = 0; k < 6; k++) sum += c[k]! * basis[k * INPUTS + i]!;
        x[r * INPUTS + i] = sum;
      }
    }
    return new Map([["x", denseFrom("f32", [40, INPUTS], x)]]);
  });
}

async function share(
  m: Model,
  o: Partial<ShareBasesOptions>,
  on: readonly Map<string, Dense>[] | null,
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const options: ShareBasesOptions = { sqnr: 20, match: "^(one|two|three)$", exclude: null, ...o };
  const ctx = { model: m, target: null, shapes: () => inferShapes(m) };
  const request = shareBases.wantsStatistics!(m.graph, options, ctx);
  const statistics = on === null || request === null ? null : await statisticsOver(m, request, on, rt);
  const report = await runPass(m, shareBases as unknown as Pass, options, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target: null,
    seed: 0,
    ranges: null,
    statistics,
    trail: [],
  });
  return report!.decisions;
}

async function outputs(m: Model, on: readonly Map<string, Dense>[]): Promise<Float32Array> {
  const session = await (await runtime()).openSession(m, { optimize: "disable" });
  const parts: number[] = [];
  for (const f of on) parts.push(...floats((await session.run(f)).get("y")!));
  await session.release();
  return Float32Array.from(parts);
}

/** Bias-free power of the outputs over that of the error. */
function ratio(y: Float32Array, z: Float32Array): number {
  const width = OUTPUTS.reduce((a, b) => a + b, 0);
  const bias = [...new Float32Array(OUTPUTS[0]), ...biasOf(OUTPUTS[1], 3), ...biasOf(OUTPUTS[2], 5)];
  let [signal, noise] = [0, 0];
  for (const [i, v] of y.entries()) {
    signal += (v - bias[i % width]!) ** 2;
    noise += (v - z[i]!) ** 2;
  }
  return signal / noise;
}

function biasOf(n: number, seed: number): number[] {
  const rng = createRng(seed, "share");
  return Array.from({ length: n }, () => Math.fround(rng.normal()));
}

const bytesOf = (m: Model): number => [...modelTensors(m)].reduce((n, t) => n + tensorBytes(t), 0);

describe("share-bases", () => {
  it("keeps the outputs at the SQNR asked for, off by as much as predicted, with fewer bytes", async () => {
    for (const sqnr of [20, 35]) {
      const m = model();
      const before = cloneModel(m);
      const on = feeds(0.02);
      const [line, ...others] = await share(m, { sqnr }, on);
      expect(others).toEqual([]);
      expect(line).toMatchObject({ kind: "applied", rule: "shared-basis", count: 3 });
      expect(line!.error!.value).toBeGreaterThan(sqnr - 0.1);
      const measured = ratio(await outputs(before, on), await outputs(m, on));
      expect(Math.abs(10 ** (line!.error!.value / 10) / measured - 1)).toBeLessThan(1e-3);
      expect(bytesOf(before) - bytesOf(m)).toBe(line!.bytesBefore! - line!.bytesAfter!);
      expect([...m.graph.nodes()].filter((n) => n.name.endsWith("/basis"))).toHaveLength(1);
    }
  });

  it("is refused where it saves no bytes", async () => {
    const m = model();
    const { version } = m.graph;
    const [line] = await share(m, { sqnr: 90 }, feeds(2));
    expect(line).toMatchObject({ kind: "skipped", why: expect.stringMatching(/need rank 4\d, which takes/) });
    expect(m.graph.version).toBe(version);
  });

  it("leaves models that cannot be sampled alone, aloud", async () => {
    const m = model();
    const { version } = m.graph;
    expect(await share(m, {}, null)).toMatchObject([
      { kind: "skipped", count: 3, why: expect.stringMatching(/not sampled/) },
    ]);
    expect(m.graph.version).toBe(version);
  });

  it("gives the same bytes on any number of threads", async () => {
    const bytes: Uint8Array[] = [];
    for (const workers of [0, 2]) {
      const m = model();
      await share(m, {}, feeds(0.02));
      const rt = await createRuntime({ workers });
      bytes.push(await encodeModel(m, rt.reader));
      await rt.close();
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});
