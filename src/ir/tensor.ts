import { byteLength, type DType, elementCount } from "./dtype.ts";

/** Anything JSON can hold: what derivation parameters and pass options are made of. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * How the bytes of a tensor come to be: a named pure kernel over other tensors. It is plain data, so it can be
 * hashed, cached and sent to a worker. Kernels live in `src/runtime/kernels`; equal derivations give equal bytes.
 */
export interface Derivation {
  readonly kernel: string;
  /** Bumped whenever the kernel's output for the same input changes. */
  readonly version: number;
  readonly params: Json;
  readonly inputs: readonly Tensor[];
  /** Type of every output; a tensor names one of them, so data, scales and zero points share one evaluation. */
  readonly outputs: readonly { readonly dtype: DType; readonly dims: readonly number[] }[];
}

/** Where the bytes of a tensor are. Layout is always ONNX `raw_data`: little endian, row major, sub-byte packed. */
export type TensorSource =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | { readonly kind: "file"; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly kind: "strings"; readonly values: readonly Uint8Array[] }
  | { readonly kind: "derived"; readonly derivation: Derivation; readonly output: number };

/** An immutable constant. Asking for type or size never does I/O; bytes come from a {@link TensorReader}. */
export interface Tensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly source: TensorSource;
}

/** Turns any tensor into bytes. The runtime implements it (file ranges, worker threads, artifact store). */
export interface TensorReader {
  /** All bytes in `raw_data` layout. Fails with TENSOR_TOO_LARGE above the memory budget. */
  read(tensor: Tensor): Promise<Uint8Array>;
  /** Fails with TENSOR_TOO_LARGE for a derived tensor that could never be made, without reading or making anything. */
  admit?(tensor: Tensor): void;
}

/** Bytes of the tensor in `raw_data` layout; string tensors report the sum of their values. */
export function tensorBytes(t: Tensor): number {
  if (t.source.kind === "strings") return t.source.values.reduce((sum, v) => sum + v.length, 0);
  return byteLength(t.dtype, elementCount(t.dims));
}

/** A tensor whose bytes are at hand. `bytes` is in `raw_data` layout and is not copied. */
export function inlineTensor(dtype: DType, dims: readonly number[], bytes: Uint8Array): Tensor {
  const want = byteLength(dtype, elementCount(dims));
  if (bytes.length !== want) {
    throw new Error(`inline ${dtype}[${dims}] needs ${want} bytes, got ${bytes.length}`);
  }
  return { dtype, dims, source: { kind: "inline", bytes } };
}

/** One output of a derivation as a tensor. */
export function derivedTensor(derivation: Derivation, output = 0): Tensor {
  const type = derivation.outputs[output];
  if (type === undefined) throw new Error(`${derivation.kernel} has no output ${output}`);
  return { dtype: type.dtype, dims: type.dims, source: { kind: "derived", derivation, output } };
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** int64 constant, the type of shapes and axes. `dims` defaults to a vector. */
export function i64Tensor(
  values: readonly (number | bigint)[],
  dims: readonly number[] = [values.length],
): Tensor {
  return inlineTensor("i64", dims, bytesOf(BigInt64Array.from(values.map((v) => BigInt(v)))));
}

/** float32 constant. `dims` defaults to a vector. */
export function f32Tensor(values: ArrayLike<number>, dims: readonly number[] = [values.length]): Tensor {
  return inlineTensor("f32", dims, bytesOf(Float32Array.from(values)));
}
