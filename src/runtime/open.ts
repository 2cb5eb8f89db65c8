import type { Model } from "../ir/graph.ts";
import { encodeModel } from "../ir/onnx/index.ts";
import type { TensorReader } from "../ir/tensor.ts";
import { modelBytes } from "../ir/weights.ts";
import { isGraphSet, openGraphSet } from "./graph-set.ts";
import { createSession, type Session, type SessionOptions } from "./session.ts";
import { stageModel } from "./staging.ts";

/** Up to this many bytes of weights a model is handed over in memory; above, as files the runtime maps. */
const IN_MEMORY = 64 << 20;

/**
 * Loads a path, bytes, or a model of ours; the path may be that of a graph set. Fails with RUNTIME_REJECTED,
 * TEMP_UNUSABLE or GRAPH_SET_INVALID.
 */
export async function openModel(
  source: string | Uint8Array | Model,
  reader: TensorReader,
  options: SessionOptions = {},
): Promise<Session> {
  if (typeof source === "string" && isGraphSet(source)) return await openGraphSet(source, options);
  if (typeof source === "string") return await createSession(source, source, options);
  if (source instanceof Uint8Array) return await createSession(source, "the model", options);
  const where = source.path ?? `the graph "${source.graph.name}"`;
  if (modelBytes(source) <= IN_MEMORY) {
    return await createSession(await encodeModel(source, reader), where, options);
  }
  const staged = await stageModel(source, reader);
  return await createSession(staged.path, where, options, staged.remove);
}
