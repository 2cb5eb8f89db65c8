/** What the bits of one element mean. `float8` covers every sub-16-bit float. */
export type DTypeKind = "float" | "bfloat" | "float8" | "int" | "uint" | "bool" | "string" | "complex";

export interface DTypeInfo {
  /** `TensorProto.DataType` code. */
  readonly onnx: number;
  /** Bits per element when packed in `raw_data`; 0 for strings, which have no fixed width. */
  readonly bits: number;
  readonly kind: DTypeKind;
  /** First opset in which the type may appear in a model. */
  readonly opset: number;
}

/** One row per element type of the ONNX specification (IR version 13). Nothing switches on names: ask the row. */
export const DTYPES = {
  f32: { onnx: 1, bits: 32, kind: "float", opset: 1 },
  u8: { onnx: 2, bits: 8, kind: "uint", opset: 1 },
  i8: { onnx: 3, bits: 8, kind: "int", opset: 1 },
  u16: { onnx: 4, bits: 16, kind: "uint", opset: 1 },
  i16: { onnx: 5, bits: 16, kind: "int", opset: 1 },
  i32: { onnx: 6, bits: 32, kind: "int", opset: 1 },
  i64: { onnx: 7, bits: 64, kind: "int", opset: 1 },
  string: { onnx: 8, bits: 0, kind: "string", opset: 1 },
  bool: { onnx: 9, bits: 8, kind: "bool", opset: 1 },
  f16: { onnx: 10, bits: 16, kind: "float", opset: 1 },
  f64: { onnx: 11, bits: 64, kind: "float", opset: 1 },
  u32: { onnx: 12, bits: 32, kind: "uint", opset: 1 },
  u64: { onnx: 13, bits: 64, kind: "uint", opset: 1 },
  c64: { onnx: 14, bits: 64, kind: "complex", opset: 1 },
  c128: { onnx: 15, bits: 128, kind: "complex", opset: 1 },
  bf16: { onnx: 16, bits: 16, kind: "bfloat", opset: 13 },
  f8e4m3fn: { onnx: 17, bits: 8, kind: "float8", opset: 19 },
  f8e4m3fnuz: { onnx: 18, bits: 8, kind: "float8", opset: 19 },
  f8e5m2: { onnx: 19, bits: 8, kind: "float8", opset: 19 },
  f8e5m2fnuz: { onnx: 20, bits: 8, kind: "float8", opset: 19 },
  u4: { onnx: 21, bits: 4, kind: "uint", opset: 21 },
  i4: { onnx: 22, bits: 4, kind: "int", opset: 21 },
  f4e2m1: { onnx: 23, bits: 4, kind: "float8", opset: 23 },
  f8e8m0: { onnx: 24, bits: 8, kind: "float8", opset: 24 },
  u2: { onnx: 25, bits: 2, kind: "uint", opset: 25 },
  i2: { onnx: 26, bits: 2, kind: "int", opset: 25 },
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof DTYPES;

const BY_CODE = new Map<number, DType>(
  (Object.keys(DTYPES) as DType[]).map((name) => [DTYPES[name].onnx, name]),
);

/** The dtype of a `TensorProto.DataType` code, or `null` for codes this version does not know. */
export function dtypeOf(code: number): DType | null {
  return BY_CODE.get(code) ?? null;
}

/** Number of elements of a fully known shape; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  let n = 1;
  for (const d of dims) n *= d;
  return n;
}

/** Bytes of `raw_data` for `count` elements; sub-byte types are packed densely and the last byte is padded. */
export function byteLength(dtype: DType, count: number): number {
  const { bits } = DTYPES[dtype];
  return bits >= 8 ? count * (bits / 8) : Math.ceil((count * bits) / 8);
}

/** True for types arithmetic can be done in after a Cast (every float, whatever its width). */
export function isFloat(dtype: DType): boolean {
  const { kind } = DTYPES[dtype];
  return kind === "float" || kind === "bfloat" || kind === "float8";
}
