import type { DType } from "./dtype.ts";

/**
 * One axis length: a number, or a symbolic expression in canonical text (`batch`, `2*height`,
 * `floor((width-1)/2)+1`); see `dim.ts`. Expressions that mean the same are the same string.
 */
export type Dim = number | string;

/** Axis lengths, or `null` when even the rank is unknown. An unknown length is a fresh symbol starting with `?`. */
export type Shape = readonly Dim[] | null;

/** The type of a value, as `TypeProto` has it. */
export type ValueType =
  | { readonly kind: "tensor"; readonly dtype: DType; readonly shape: Shape }
  | { readonly kind: "sparse"; readonly dtype: DType; readonly shape: Shape }
  | { readonly kind: "sequence"; readonly element: ValueType }
  | { readonly kind: "optional"; readonly element: ValueType }
  | { readonly kind: "map"; readonly key: DType; readonly value: ValueType }
  | { readonly kind: "opaque"; readonly domain: string; readonly name: string };

export type TensorType = Extract<ValueType, { kind: "tensor" }>;

/** A dense tensor type. */
export function tensorType(dtype: DType, shape: Shape): TensorType {
  return { kind: "tensor", dtype, shape };
}
