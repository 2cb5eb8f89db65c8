import { existsSync } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model } from "../../src/ir/graph.ts";
import { encodeModel, readModel, writeModel } from "../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { instructionSets } from "../../src/runtime/environment.ts";
import {
  createRuntime,
  describeEnvironment,
  optimizedOps,
  parseProfile,
  profileModel,
  type Runtime,
} from "../../src/runtime/index.ts";
import { bytesOf } from "../../src/runtime/kernels/elements.ts";
import { quantizeChannel } from "../../src/runtime/kernels/quantize-channel.ts";
import { transposeTensor } from "../../src/runtime/kernels/transpose.ts";
import { stageModel } from "../../src/runtime/staging.ts";
import { weights } from "./kernels/evaluate.ts";

let runtime: Runtime;
let folder: string;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  folder = await mkdtemp(join(tmpdir(), "diffpress-test-"));
});
afterAll(async () => {
  await runtime.close();
  await rm(folder, { recursive: true });
});

const f32 = (dims: readonly number[], values: Float32Array): Dense => ({
  dtype: "f32",
  dims,
  bytes: bytesOf(values),
});

/** y = x · w, z = relu(y). */
function linear(w: Tensor): Model {
  const b = new ModelBuilder();
  const y = b.node("MatMul", [b.input("x", "f32", ["batch", w.dims[0]!]), b.constant(w, "w")]);
  b.output(y, "y", tensorType("f32", ["batch", w.dims[1]!]));
  b.output(b.node("Relu", [y]), "z", tensorType("f32", ["batch", w.dims[1]!]));
  return b.build();
}

const feeds = new Map([["x", f32([1, 2], Float32Array.of(1, -2))]]);

describe("sessions", () => {
  test("from a model, its bytes and its file; ports and chosen outputs", async () => {
    const model = linear(f32Tensor([1, 2, 3, 4, 5, 6], [2, 3]));
    const path = join(folder, "linear.onnx");
    await writeModel(model, path, { reader: runtime.reader });
    for (const source of [model, await encodeModel(model, runtime.reader), path]) {
      const session = await runtime.openSession(source);
      expect(session.inputs).toEqual([{ name: "x", dtype: "f32", shape: ["batch", 2] }]);
      expect(session.outputs.map((o) => o.name)).toEqual(["y", "z"]);
      const all = await session.run(feeds);
      expect(all.get("y")).toEqual(f32([1, 3], Float32Array.of(-7, -8, -9)));
      expect([...all.keys()]).toEqual(["y", "z"]);
      const one = await session.run(feeds, ["z"]);
      expect([...one]).toEqual([["z", f32([1, 3], new Float32Array(3))]]);
      expect(await session.run(feeds, [])).toEqual(new Map());
      await expect(session.run(feeds, ["nope"])).rejects.toThrow("nope");
      await session.release();
      await session.release();
      await expect(session.run(feeds)).rejects.toThrow("released");
    }
  });

  test("results of one run are not overwritten by the next", async () => {
    const session = await runtime.openSession(linear(f32Tensor([1, 0, 0, 1], [2, 2])));
    const first = (await session.run(feeds)).get("y")!;
    await session.run(new Map([["x", f32([1, 2], Float32Array.of(9, 9))]]));
    expect(first).toEqual(f32([1, 2], Float32Array.of(1, -2)));
    await session.release();
  });

  test("the optimisation level reaches the runtime", async () => {
    const b = new ModelBuilder();
    const c = b.node("Add", [b.constant(f32Tensor([1])), b.constant(f32Tensor([2]))]);
    b.output(b.node("Mul", [b.input("x", "f32", [1]), c]), "y", tensorType("f32", [1]));
    const model = b.build();
    expect(await optimizedOps(runtime, model, { optimize: "disable" })).toEqual(
      new Map([
        ["Add", 1],
        ["Mul", 1],
      ]),
    );
    expect(await optimizedOps(runtime, model)).toEqual(new Map([["Mul", 1]]));
  });

  test("configuration entries reach the runtime", async () => {
    const q = quantizeChannel(f32Tensor(weights(32 * 32), [32, 32]), { bits: 8, axis: 1 });
    const b = new ModelBuilder({ opset: 21 });
    const w = b.node("DequantizeLinear", [b.constant(q.data), b.constant(q.scale)], { axis: 1 });
    b.output(b.node("MatMul", [b.input("x", "f32", [4, 32]), w]), "y", tensorType("f32", [4, 32]));
    const model = b.build();
    expect([...(await optimizedOps(runtime, model)).keys()]).toEqual(["com.microsoft:MatMulNBits"]);
    const off = { config: { "session.disable_quant_qdq": "1" } };
    expect([...(await optimizedOps(runtime, model, off)).keys()]).toEqual(["MatMul"]);
  });

  test("fused operators show up under their domain", async () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [4]);
    b.output(b.node("Mul", [x, b.node("Sigmoid", [x])]), "y", tensorType("f32", [4]));
    const ops = await optimizedOps(runtime, b.build());
    expect([...ops.keys()]).toEqual(["com.microsoft:QuickGelu"]);
  });
});

describe("staged models", () => {
  const w = weights(64 * 32, 5);
  const want = (): Float32Array => {
    const y = new Float32Array(32);
    for (let k = 0; k < 64; k++) for (let n = 0; n < 32; n++) y[n]! += w[k * 32 + n]!;
    return y;
  };
  const ones = new Map([["x", f32([1, 64], new Float32Array(64).fill(1))]]);

  async function check(model: Model): Promise<{ files: string[]; bytes: number }> {
    const staged = await stageModel(model, runtime.reader);
    const dir = join(staged.path, "..");
    try {
      const files = (await readdir(dir)).sort();
      const session = await runtime.openSession(staged.path);
      const y = (await session.run(ones)).get("y")!;
      await session.release();
      const got = new Float32Array(y.bytes.slice().buffer);
      for (const [i, v] of want().entries()) expect(Math.abs(got[i]! - v)).toBeLessThan(1e-4);
      const sizes = await Promise.all(files.map((f) => stat(join(dir, f))));
      return { files, bytes: sizes.reduce((sum, s) => sum + (s.nlink > 1 ? 0 : s.size), 0) };
    } finally {
      await staged.remove();
      expect(existsSync(dir)).toBe(false);
    }
  }

  test("weights inside a model file are used where they are", async () => {
    const path = join(folder, "whole.onnx");
    await writeModel(linear(f32Tensor(w, [64, 32])), path, { reader: runtime.reader, external: false });
    const { files, bytes } = await check(await readModel(path));
    expect(files).toEqual(["model.onnx", "weights-0"]);
    expect(bytes).toBeLessThan(1000);
  });

  test("so are those in a data file; derived ones are written", async () => {
    const sub = join(folder, "external");
    await mkdir(sub);
    const path = join(sub, "m.onnx");
    const transposed = new Float32Array(w.length);
    for (let k = 0; k < 64; k++) for (let n = 0; n < 32; n++) transposed[n * 64 + k] = w[k * 32 + n]!;
    await writeModel(linear(f32Tensor(w, [64, 32])), path, {
      reader: runtime.reader,
      external: { total: 0 },
    });
    expect((await check(await readModel(path))).files).toEqual(["model.onnx", "weights-0"]);
    const derived = linear(transposeTensor(f32Tensor(transposed, [32, 64])));
    expect((await check(derived)).files).toEqual(["model.onnx", "model.onnx.data"]);
  });

  test("a model above 2 GiB runs without its weights being copied or read", async () => {
    // One sparse file of 3 GiB; the graph gathers one row from its end.
    const rows = 3 * 2 ** 20;
    const path = join(folder, "sparse");
    const handle = await open(path, "w");
    await handle.write(bytesOf(Float32Array.of(42)), 0, 4, rows * 1024 - 1024);
    await handle.truncate(rows * 1024);
    await handle.close();
    const b = new ModelBuilder();
    const table = b.constant(
      { dtype: "f32", dims: [rows, 256], source: { kind: "file", path, offset: 0, length: rows * 1024 } },
      "table",
    );
    b.output(b.node("Gather", [table, b.input("i", "i64", [1])]), "y", tensorType("f32", [1, 256]));
    const session = await runtime.openSession(b.build());
    try {
      const row = async (i: number): Promise<number> => {
        const index: Dense = { dtype: "i64", dims: [1], bytes: bytesOf(BigInt64Array.of(BigInt(i))) };
        const y = (await session.run(new Map([["i", index]]))).get("y")!;
        return new DataView(y.bytes.buffer, y.bytes.byteOffset).getFloat32(0, true);
      };
      expect(await row(rows - 1)).toBe(42);
      expect(await row(0)).toBe(0);
    } finally {
      await session.release();
      await rm(path);
    }
  });
});

describe("profiles", () => {
  test("kernel times by node and operator", async () => {
    const n = 200;
    const profile = await profileModel(
      runtime,
      linear(f32Tensor(weights(n * n), [n, n])),
      new Map([["x", f32([50, n], weights(50 * n))]]),
      { runs: 3 },
    );
    const matmul = profile.ops.find((o) => o.op === "MatMul")!;
    expect(matmul.calls).toBe(3);
    expect(matmul.microseconds).toBeGreaterThan(0);
    expect(profile.nodes.reduce((sum, t) => sum + t.microseconds, 0)).toBe(profile.microseconds);
    expect(profile.ops[0]!.microseconds).toBeGreaterThanOrEqual(profile.ops.at(-1)!.microseconds);
  });

  test("texts that are no profile are refused, foreign events passed over", () => {
    for (const text of ["", "{}", "nonsense"]) expect(() => parseProfile(text)).toThrow(/profile/);
    const events = [
      null,
      { cat: "Session", name: "model_run", dur: 9 },
      { cat: "Node", name: "a_kernel_time", dur: 5, args: { op_name: "Conv" } },
      { cat: "Node", name: "a_fence_before", dur: 7, args: { op_name: "Conv" } },
      { cat: "Node", name: "b_kernel_time", dur: 2, args: { op_name: "Conv" } },
    ];
    expect(parseProfile(JSON.stringify(events))).toEqual({
      microseconds: 7,
      nodes: [
        { op: "Conv", node: "a", calls: 1, microseconds: 5 },
        { op: "Conv", node: "b", calls: 1, microseconds: 2 },
      ],
      ops: [{ op: "Conv", node: "", calls: 2, microseconds: 7 }],
    });
  });
});

test("the environment names the machine and the versions", async () => {
  const e = await describeEnvironment();
  expect(e.onnxruntime).toMatch(/^\d+\.\d+\.\d+/);
  expect(e.cores).toBeGreaterThan(0);
  expect(instructionSets("processor : 0\nflags\t\t: sse4_1 fma avx2 foo\nflags : avx512f")).toEqual([
    "avx2",
    "fma",
    "sse4_1",
  ]);
  expect(instructionSets("Features\t: fp asimd i8mm bf16\n")).toEqual(["bf16", "i8mm"]);
  expect(instructionSets("")).toEqual([]);
});

test("no private folder is left behind when writing fails", async () => {
  const before = (await readdir(tmpdir())).filter((f) => f.startsWith("diffpress-")).length;
  const gone = linear({
    dtype: "f32",
    dims: [64, 32],
    source: { kind: "file", path: join(folder, "gone"), offset: 0, length: 8192 },
  });
  await writeFile(join(folder, "unrelated"), "");
  await expect(stageModel(gone, runtime.reader)).rejects.toMatchObject({ code: "TENSOR_UNREADABLE" });
  expect((await readdir(tmpdir())).filter((f) => f.startsWith("diffpress-")).length).toBeLessThanOrEqual(
    before,
  );
});
