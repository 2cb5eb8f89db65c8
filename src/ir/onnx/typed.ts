import { DTYPES, type DType } from "../dtype.ts";
import type { DataField } from "./meta.ts";
import { TENSOR, TENSOR_UNPACKED } from "./schema.ts";

/** A typed data field of TensorProto: how its elements relate to `raw_data` bytes. */
export interface TypedField {
  readonly field: DataField;
  readonly packed: number;
  readonly unpacked: number;
  /** Bytes of a fixed-width element on the wire; 0 for varints. */
  readonly fixed: 0 | 4 | 8;
}

export const TYPED_FIELDS: readonly TypedField[] = [
  { field: "float", packed: TENSOR.floatData, unpacked: TENSOR_UNPACKED.floatData, fixed: 4 },
  { field: "double", packed: TENSOR.doubleData, unpacked: TENSOR_UNPACKED.doubleData, fixed: 8 },
  { field: "int32", packed: TENSOR.int32Data, unpacked: TENSOR_UNPACKED.int32Data, fixed: 0 },
  { field: "int64", packed: TENSOR.int64Data, unpacked: TENSOR_UNPACKED.int64Data, fixed: 0 },
  { field: "uint64", packed: TENSOR.uint64Data, unpacked: TENSOR_UNPACKED.uint64Data, fixed: 0 },
];

const BY_TAG = new Map<number, TypedField>(
  TYPED_FIELDS.flatMap((f) => [
    [f.packed, f],
    [f.unpacked, f],
  ]),
);

/** The typed data field a tag belongs to. */
export function typedField(tag: number): TypedField | undefined {
  return BY_TAG.get(tag);
}

/** The typed data field the specification assigns to a dtype; `strings` for string tensors. */
export function typedFieldOf(dtype: DType): DataField {
  const { kind, bits } = DTYPES[dtype];
  if (kind === "string") return "strings";
  const unit = kind === "complex" ? bits / 2 : bits;
  if (kind === "float" || kind === "complex") {
    if (unit === 32) return "float";
    if (unit === 64) return "double";
  }
  if (kind === "uint" && bits >= 32) return "uint64";
  if (kind === "int" && bits === 64) return "int64";
  return "int32";
}

/** Bytes of `raw_data` that one varint of `int32_data`, `int64_data` or `uint64_data` stands for. */
export function varintWidth(dtype: DType): number {
  return Math.max(1, DTYPES[dtype].bits / 8);
}

/** True when negative elements are written sign-extended. */
export function signExtended(dtype: DType): boolean {
  return DTYPES[dtype].kind === "int" && DTYPES[dtype].bits >= 8;
}
