import { elementCount } from "../../ir/dtype.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { targets } from "../../targets/index.ts";
import type { Decision } from "../pass.ts";

/** A weight with zeros and how many of its elements are not zero. */
export interface Sparsified {
  readonly tensor: Tensor;
  readonly kept: number;
}

/** Bytes that some weights take in every form they could be stored in. */
export interface SparseBytes {
  /** As they are written: zeros like other values. */
  readonly dense: number;
  /** ONNX `sparse_initializer`: a value and an int64 index per element that is not zero. */
  readonly coordinate: number;
  /** A bit per element and the values that are not zero; no ONNX runtime reads it. */
  readonly bitmask: number;
}

/** Bytes of an int64 index of a sparse initializer. */
const INDEX_BYTES = 8;

/** What weights take dense, as sparse initializers, and with a bit mask. */
export function sparseBytes(weights: readonly Sparsified[]): SparseBytes {
  let [dense, coordinate, bitmask] = [0, 0, 0];
  for (const { tensor, kept } of weights) {
    const elements = elementCount(tensor.dims);
    const bytes = tensorBytes(tensor);
    const each = bytes / elements;
    dense += bytes;
    coordinate += kept * (each + INDEX_BYTES);
    bitmask += kept * each + Math.ceil(elements / 8);
  }
  return { dense, coordinate, bitmask };
}

/** The line that says what the zeros are worth: on disk in each form, and in speed on every target. */
export function storageDecision(weights: readonly Sparsified[], pattern: string): Decision {
  const b = sparseBytes(weights);
  const fast = targets.filter((t) => (t.sparsity.fast as readonly string[]).includes(pattern));
  const slow = targets.filter((t) => !fast.includes(t));
  const notes = new Map<string, string[]>();
  for (const t of slow) notes.set(t.sparsity.note, [...(notes.get(t.sparsity.note) ?? []), t.id]);
  const lines = [
    ...(fast.length > 0 ? [`${fast.map((t) => t.id).join(", ")} skips these zeros`] : []),
    ...[...notes].map(([note, ids]) => `${ids.join(", ")}: ${note}`),
  ];
  return {
    node: "",
    kind: "applied",
    rule: "storage",
    why: `zeros are stored densely, ${b.dense} bytes; sparse_initializer would take ${b.coordinate}, values beside a bit mask ${b.bitmask}, and neither is written. ${lines.join("; ")}`,
    count: weights.length,
    bytesBefore: b.dense,
    bytesAfter: b.dense,
  };
}
