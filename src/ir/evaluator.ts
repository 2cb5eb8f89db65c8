import type { DType } from "./dtype.ts";
import type { Model } from "./graph.ts";

/** A dense array in memory. `data` is in ONNX `raw_data` layout. */
export interface Dense {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

/** Runs small models; implemented by `runtime` on onnxruntime and handed down to what must not import it. */
export interface Evaluator {
  /**
   * Runs a model on named inputs without graph optimisation and returns every output by name.
   * Fails with RUNTIME_REJECTED when the runtime cannot load or run it.
   */
  run(model: Model, feeds: ReadonlyMap<string, Dense>): Promise<Map<string, Dense>>;
}
