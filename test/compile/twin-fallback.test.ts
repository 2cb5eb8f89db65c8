import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { withTwins } from "../../src/compile/twins.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { writeModel } from "../../src/ir/onnx/write.ts";
import { tensorType } from "../../src/ir/types.ts";
import { floats, runtime, wave } from "../passes/harness.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-fallback-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function model(make: (b: ModelBuilder, x: ValueId) => ValueId): Model {
  const b = new ModelBuilder({ opset: 21, domains: { "com.microsoft": 1 } });
  const x = b.input("x", "f32", [1, 4, 2, 3, 8]);
  return b.output(make(b, x), "y", tensorType("f32", null)).build();
}

const packed = (b: ModelBuilder, x: ValueId): ValueId =>
  b.node("MultiHeadAttention", [x], { num_heads: 2 }, { domain: "com.microsoft" });

async function written(name: string, m: Model): Promise<string> {
  const path = join(dir, `${name}.onnx`);
  await writeModel(m, path, { reader: (await runtime()).reader });
  return path;
}

it("a file that loads and is refused when it runs goes on as its twin, from the first run on", async () => {
  const m = model(packed);
  const rt = withTwins(await runtime());
  const x = wave([1, 4, 2, 3, 8]);
  const run = async (source: string | Model): Promise<Float32Array[]> => {
    const session = await rt.openSession(source);
    try {
      const calls = [0, 1].map(() => session.run(new Map([["x", x]])));
      return (await Promise.all(calls)).map((out) => floats(out.get("y")!));
    } finally {
      await session.release();
    }
  };
  const [file, again] = await run(await written("packed", m));
  const [memory] = await run(m);
  expect(file).toHaveLength(64);
  expect(file!.some((v) => v !== 0)).toBe(true);
  expect(again).toEqual(file);
  expect(memory).toEqual(file);
});

it("a file that is refused for another reason stays refused", async () => {
  const path = await written(
    "torn",
    model((b, x) => b.node("Reshape", [x, b.node("Shape", [b.node("ReduceSum", [x], { keepdims: 0 })])])),
  );
  const session = await withTwins(await runtime()).openSession(path);
  try {
    await expect(session.run(new Map([["x", wave([1, 4, 2, 3, 8])]]))).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
  } finally {
    await session.release();
  }
});
