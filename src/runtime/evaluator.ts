import { DiffpressError } from "../diagnostics/index.ts";
import type { DType } from "../ir/dtype.ts";
import type { Dense, Evaluator } from "../ir/evaluator.ts";
import type { Model, Value } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import type { TensorReader } from "../ir/tensor.ts";
import { carrierOf, carryModel, convert } from "./carry.ts";
import { withoutHazards } from "./hazards.ts";
import { openModel } from "./open.ts";

function declared(v: Value): DType | null {
  if (v.type?.kind === "tensor") return v.type.dtype;
  return v.init?.dtype ?? null;
}

async function attempt(
  model: Model,
  dtype: (v: Value) => DType | null,
  feeds: ReadonlyMap<string, Dense>,
  reader: TensorReader,
): Promise<Map<string, Dense>> {
  const dims = new Map([...feeds].map(([name, d]) => [name, d.dims]));
  const carried = carryModel(withoutHazards(model, dims), dtype);
  const session = await openModel(carried.model, reader, { optimize: "disable" });
  try {
    const given = new Map<string, Dense>();
    for (const [name, d] of feeds) given.set(name, convert(d, carrierOf(d.dtype)));
    const results = await session.run(given);
    for (const [name, type] of carried.outputs) results.set(name, convert(results.get(name)!, type));
    return results;
  } finally {
    await session.release();
  }
}

/**
 * An {@link Evaluator} on onnxruntime: no graph optimisation, one thread, nothing kept between runs. Types the binding
 * cannot pass (bf16, fp8, 2 and 4 bits) are carried in wider ones; complex numbers, FLOAT4E2M1, sequences and optionals
 * as inputs or outputs end in RUNTIME_REJECTED.
 */
export function createEvaluator(reader: TensorReader): Evaluator {
  return {
    async run(model, feeds) {
      try {
        return await attempt(model, declared, feeds, reader);
      } catch (e) {
        const untyped = model.graph.outputs.some((id) => declared(model.graph.value(id)) === null);
        if (!untyped || !(e instanceof DiffpressError) || e.code !== "RUNTIME_REJECTED") throw e;
        // The types of some outputs are not written down; one of them may be a type that needs a carrier.
        const shapes = inferShapes(model);
        const inferred = (v: Value): DType | null => declared(v) ?? shapes.dtype(v.id);
        if (carryModel(model, inferred).outputs.size === 0) throw e;
        return await attempt(model, inferred, feeds, reader);
      }
    },
  };
}
