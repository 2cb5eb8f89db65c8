import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { denseFrom, numbersOf } from "../../src/calibrate/index.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model } from "../../src/ir/graph.ts";
import { readModel, writeModelSet } from "../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { createRuntime, isGraphSet, modelFile, type Runtime } from "../../src/runtime/index.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-graphs-"));
const shared = f32Tensor(
  Float32Array.from({ length: 512 }, (_, i) => i),
  [512],
);
let runtime: Runtime;

/** Adds a shared weight and an own constant to the timestep. */
function adding(own: number, weight: Tensor): Model {
  const b = new ModelBuilder({ opset: 17 });
  const t = b.node("Cast", [b.input("timestep", "i64", ["n"])], { to: 1 });
  const sum = b.node("Add", [b.node("Add", [t, b.constant(f32Tensor([own]))]), b.constant(weight)]);
  return b.output(sum, "y", tensorType("f32", [512])).build();
}

const GRAPHS = [
  { file: "model.b0.onnx", from: null, until: 250.5 },
  { file: "model.b1.onnx", from: 250.5, until: 600 },
  { file: "model.b2.onnx", from: 600, until: null },
];

const describeSet = (name: string, value: unknown): string => {
  const path = join(dir, `${name}.graphs.json`);
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
};

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  const members = GRAPHS.map(({ file }, k) => ({ file, model: adding(1000 * k, shared) }));
  const written = await writeModelSet(members, join(dir, "model.data"), {
    reader: runtime.reader,
    external: { threshold: 1024 },
  });
  expect(written.map((w) => w.files.map((f) => f.path))).toEqual([
    ["model.b0.onnx", "model.data"],
    ["model.b1.onnx"],
    ["model.b2.onnx"],
  ]);
  expect(written[0]!.files[1]!.bytes).toBe(2048);
  const places = written.map((w) => w.tensors.filter((t) => t.location !== "inline"));
  expect(places[1]).toEqual(places[0]);
  expect(places[2]).toEqual(places[0]);
  expect(places[0]).toMatchObject([{ bytes: 2048, location: { file: "model.data", offset: 0 } }]);
  expect(places[0]![0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
});
afterAll(async () => {
  await runtime.close();
  rmSync(dir, { recursive: true, force: true });
});

const feed = (...timesteps: number[]) =>
  new Map([["timestep", denseFrom("i64", [timesteps.length], timesteps)]]);

async function refusal(work: Promise<unknown>) {
  try {
    await work;
  } catch (e) {
    if (e instanceof DiffpressError) return e.diagnostic;
    throw e;
  }
  throw new Error("nothing was refused");
}

describe("a graph set", () => {
  it("is written with its weights once, and every file reads back", async () => {
    for (const [k, { file }] of GRAPHS.entries()) {
      const model = await readModel(join(dir, file));
      const session = await runtime.openSession(model);
      const y = numbersOf((await session.run(feed(7))).get("y")!);
      await session.release();
      expect([y[0], y[511]]).toEqual([7 + 1000 * k, 518 + 1000 * k]);
    }
  });

  it("is one session, which runs the graph of the timestep it is fed", async () => {
    const path = describeSet("model", { schema: 1, input: "timestep", graphs: GRAPHS });
    expect(modelFile(dir)).toBe(path);
    expect(isGraphSet(path)).toBe(true);
    const session = await runtime.openSession(path);
    expect(session.inputs.map((p) => p.name)).toEqual(["timestep"]);
    for (const [t, k] of [
      [999, 2],
      [600, 2],
      [599, 1],
      [251, 1],
      [250, 0],
      [-3, 0],
    ] as const)
      expect(numbersOf((await session.run(feed(t))).get("y")!)[0]).toBe(t + 1000 * k);
    const apart = await refusal(session.run(feed(10, 700)));
    expect(apart.code).toBe("TIMESTEPS_APART");
    expect((await refusal(session.run(new Map()))).code).toBe("FEED_INVALID");
    await session.release();
  });

  it.each([
    ["no JSON", "{"],
    ["another schema", { schema: 2, input: "timestep", graphs: GRAPHS }],
    ["no input", { schema: 1, graphs: GRAPHS }],
    ["no graphs", { schema: 1, input: "timestep", graphs: [] }],
    ["a graph elsewhere", { schema: 1, input: "timestep", graphs: [{ ...GRAPHS[0], file: "../x.onnx" }] }],
    ["a gap", { schema: 1, input: "timestep", graphs: [GRAPHS[0], { ...GRAPHS[2] }] }],
    ["an end too early", { schema: 1, input: "timestep", graphs: GRAPHS.slice(0, 2) }],
    [
      "an empty range",
      {
        schema: 1,
        input: "timestep",
        graphs: [GRAPHS[0], { ...GRAPHS[1], until: 250.5 }, { ...GRAPHS[2], from: 250.5 }],
      },
    ],
    ["an input the graphs lack", { schema: 1, input: "time", graphs: GRAPHS }],
  ])("is refused with %s", async (name, value) => {
    const path = describeSet(name.replaceAll(" ", "-"), value);
    expect((await refusal(runtime.openSession(path))).code).toBe("GRAPH_SET_INVALID");
  });
});
