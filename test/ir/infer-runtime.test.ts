import { expect, it } from "vitest";
import { substitute } from "../../src/ir/dim.ts";
import { byteLength, elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { Graph, type Model, type ValueId } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { tensorType } from "../../src/ir/types.ts";
import { createRuntime } from "../../src/runtime/index.ts";

/** The model with every intermediate tensor as an output. */
function exposed(model: Model, outputs: readonly ValueId[], dtype: (id: ValueId) => "f32" | "i64"): Model {
  const wanted = new Set(outputs);
  const values = [...model.graph.values()].map((v) =>
    wanted.has(v.id) ? { ...v, type: tensorType(dtype(v.id), null) } : v,
  );
  const { ids, name, inputs } = model.graph;
  return { ...model, graph: new Graph({ ids, name, nodes: model.graph.nodes(), values, inputs, outputs }) };
}

it("every shape and followed value of the bundled UNet is what the runtime computes", async () => {
  const bindings: Record<string, number> = {
    batch_size: 2,
    steps: 2,
    height: 12,
    width: 20,
    sequence_length: 7,
  };
  const model = await readModel("fixtures/cifar-unet/unet/model.onnx");
  const symbolic = inferShapes(model);
  const bound = inferShapes(model, { bindings });
  const outputs = [...model.graph.nodes()].flatMap((n) => n.outputs.filter((o) => o !== null));
  const runtime = await createRuntime({ workers: 0 });
  try {
    const probe = exposed(model, outputs, (id) => bound.dtype(id) as "f32" | "i64");
    const session = await runtime.openSession(probe, { optimize: "disable" });
    const feeds = new Map<string, Dense>();
    for (const id of model.graph.inputs) {
      const dtype = bound.dtype(id)!;
      const dims = bound.staticShape(id);
      expect(dims, model.graph.value(id).name).not.toBeNull();
      const bytes = new Uint8Array(byteLength(dtype, elementCount(dims!)));
      feeds.set(model.graph.value(id).name, { dtype, dims: dims!, bytes });
    }
    const results = await session.run(feeds);
    let values = 0;
    for (const id of outputs) {
      const { name } = model.graph.value(id);
      const real = results.get(name)!;
      expect(bound.dtype(id), name).toBe(real.dtype);
      expect(bound.shape(id), name).toEqual(real.dims);
      expect(
        symbolic.shape(id)?.map((d) => substitute(d, bindings)),
        name,
      ).toEqual(real.dims);
      const data = symbolic.data(id);
      if (data === null || real.dtype !== "i64") continue;
      const computed = [...new BigInt64Array(real.bytes.slice().buffer)].map(Number);
      expect(
        data.map((d) => substitute(d, bindings)),
        name,
      ).toEqual(computed);
      values++;
    }
    await session.release();
    expect(outputs.length).toBeGreaterThan(3000);
    expect(values).toBeGreaterThan(1500);
  } finally {
    await runtime.close();
  }
});
