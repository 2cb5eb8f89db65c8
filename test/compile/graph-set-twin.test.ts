import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { denseFrom, floats } from "../../src/calibrate/dense.ts";
import { type Twinned, withTwins } from "../../src/compile/twins.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model } from "../../src/ir/graph.ts";
import { fileReader, writeModel } from "../../src/ir/onnx/index.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { createRuntime } from "../../src/runtime/index.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-twin-set-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A contributed group normalisation times `gain`; the timestep only chooses the graph. */
function normed(gain: number): Model {
  const b = new ModelBuilder({ opset: 20, domains: { "com.microsoft": 1 } });
  const x = b.input("x", "f32", [1, 4, 2, 2]);
  b.input("timestep", "i64", [1]);
  const scales = [b.constant(f32Tensor([gain, gain, gain, gain])), b.constant(f32Tensor([0, 0, 0, 0]))];
  const attrs = { groups: 2, activation: 0, channels_last: 0 };
  const y = b.node("GroupNorm", [x, ...scales], attrs, { domain: "com.microsoft" });
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [1, 4, 2, 2] }).build();
}

it("graphs of a set run as twins, each when its timestep is fed, and each is told of", async () => {
  const graphs = [
    { file: "model.b0.onnx", from: null, until: 500 },
    { file: "model.b1.onnx", from: 500, until: null },
  ];
  for (const [k, gain] of [1, 3].entries())
    await writeModel(normed(gain), join(dir, graphs[k]!.file), { reader: fileReader() });
  const path = join(dir, "model.graphs.json");
  writeFileSync(path, JSON.stringify({ schema: 1, input: "timestep", graphs }));
  const told: Twinned[] = [];
  const runtime = withTwins(await createRuntime({ workers: 0 }), (t) => told.push(t));
  try {
    const session = await runtime.openSession(path);
    const x = denseFrom(
      "f32",
      [1, 4, 2, 2],
      Float64Array.from({ length: 16 }, (_, i) => Math.sin(i)),
    );
    const at = async (t: number): Promise<Float32Array> =>
      floats(
        (
          await session.run(
            new Map([
              ["x", x],
              ["timestep", denseFrom("i64", [1], [t])],
            ]),
          )
        ).get("y")!,
      );
    const [low, high] = [await at(100), await at(900)];
    await session.release();
    expect(Math.max(...low)).toBeGreaterThan(0.5);
    for (const [i, v] of high.entries()) expect(v).toBeCloseTo(3 * low[i]!, 4);
    const operators = ["com.microsoft:GroupNorm"];
    expect(told).toEqual(graphs.map(({ file }) => ({ model: join(dir, file), operators })));
  } finally {
    await runtime.close();
  }
});
