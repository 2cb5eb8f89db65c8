import type { Target, WeightSpelling } from "../target.ts";
import { type NodeWork, nodeEstimate } from "./node.ts";
import { LOOKS } from "./roofline.ts";

/** A layer as it is now: what it takes, and how much of its bytes is the weight. */
export interface LayerNow {
  readonly work: NodeWork;
  readonly weightBytes: number;
  /** Activation elements that it reads. */
  readonly activations: number;
}

/** A form the weight of a layer could take, with the bytes that kernels read of it. */
export interface LayerForm {
  readonly spelling: WeightSpelling | "f16" | "palette" | "dynamic";
  readonly bytes: number;
}

/**
 * Estimated seconds of a layer with its weight in another form; the same the roofline finds once it is written so. Forms
 * that are widened when the model loads take what they take now; packed ones read fewer bytes and multiply floats;
 * `dynamic` rounds its input and multiplies 8-bit integers.
 */
export function layerSeconds(
  target: Pick<Target, "machine" | "integer">,
  { work, weightBytes, activations }: LayerNow,
  form: LayerForm,
): number {
  const machine = target.machine!;
  const more = form.bytes - weightBytes;
  const packed: NodeWork = { ...work, bytes: work.bytes + more, weights: work.weights + more };
  switch (form.spelling) {
    case "float":
    case "f16":
    case "palette":
    case "fold-channel":
    case "fold-block":
      return nodeEstimate(machine, work).seconds;
    case "matmul-nbits":
      return nodeEstimate(machine, packed).seconds;
    case "dequantize-channel":
    case "dequantize-block":
    case "dequantize-nvfp4": {
      if (target.integer?.spelling === "qdq") return nodeEstimate(machine, packed).seconds;
      const widen = nodeEstimate(machine, {
        kind: "pointwise",
        flops: weightBytes / 4,
        bytes: form.bytes + weightBytes,
        weights: form.bytes,
        dtype: null,
      });
      return nodeEstimate(machine, work).seconds + widen.seconds;
    }
    case "dynamic":
      return nodeEstimate(machine, { ...packed, dtype: "i8", converted: LOOKS * activations }).seconds;
  }
}
