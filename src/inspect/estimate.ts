import type { Anatomy, Layer } from "../ir/anatomy/index.ts";
import { elementCount, isFloat } from "../ir/dtype.ts";
import { type Tensor, tensorBytes } from "../ir/tensor.ts";

/** Weight formats the presets stand for. */
export type EstimatedFormat = "exact" | "fp16" | "w8" | "w4";

/** Weights below this many elements stay as they are. */
const SMALL = 1024;
/** Elements that share a scale in 4-bit weights. */
const BLOCK = 32;

/** Layers kept at 8 bits where the rest gets 4. */
const SENSITIVE: ReadonlySet<Layer["kind"]> = new Set([
  "time.mlp",
  "cond.mlp",
  "downsample",
  "upsample",
  "shortcut",
]);

/** Bytes of one layer's weight in a format, scales included. */
function layerBytes(layer: Layer, tensor: Tensor, format: EstimatedFormat): number {
  const count = elementCount(tensor.dims);
  if (count < SMALL) return tensorBytes(tensor);
  if (layer.edge !== null) return count * 2;
  const channels = tensor.dims[layer.role.outAxis] ?? 1;
  if (format === "w8" || SENSITIVE.has(layer.kind)) return count + channels * 4;
  return count / 2 + Math.ceil(count / BLOCK) * 2;
}

/**
 * Weight bytes of a model in a format, from shapes alone: what a build for a target that takes the format comes to
 * within a few percent.
 */
export function estimateBytes(tensors: Iterable<Tensor>, anatomy: Anatomy, format: EstimatedFormat): number {
  const layers = new Map<Tensor, Layer>();
  for (const layer of anatomy.layers) if (layer.tensor !== null) layers.set(layer.tensor, layer);
  let bytes = 0;
  for (const t of tensors) {
    const layer = layers.get(t);
    const wide = isFloat(t.dtype) && tensorBytes(t) === elementCount(t.dims) * 4;
    if (format === "exact" || !wide) bytes += tensorBytes(t);
    else if (format === "fp16") bytes += tensorBytes(t) / 2;
    else bytes += layer === undefined ? tensorBytes(t) : layerBytes(layer, t, format);
  }
  return Math.round(bytes);
}
