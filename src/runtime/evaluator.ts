import type { Dense, Evaluator } from "../ir/evaluator.ts";
import { encodeModel } from "../ir/onnx/index.ts";
import type { TensorReader } from "../ir/tensor.ts";
import { createSession } from "./session.ts";

/** An {@link Evaluator} on onnxruntime: no graph optimisation, one thread, nothing kept between runs. */
export function createEvaluator(reader: TensorReader): Evaluator {
  return {
    async run(model, feeds) {
      const where = `the graph "${model.graph.name}"`;
      const bytes = await encodeModel(model, reader);
      const session = await createSession(bytes, where, { optimize: "disable" });
      try {
        const given = new Map<string, Dense>(session.inputs.map((i) => [i.name, feeds.get(i.name)!]));
        return await session.run(given);
      } finally {
        await session.release();
      }
    },
  };
}
