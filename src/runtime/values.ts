import type { Tensor as OrtTensor } from "onnxruntime-node";
import { type DType, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { aligned, bytesOf } from "./kernels/elements.ts";
import type { Ort } from "./ort.ts";
import { decodeStrings, encodeStrings } from "./strings.ts";

/** How onnxruntime-node names element types, and the typed array it wants for each. */
const ORT_TYPES = {
  f32: { name: "float32", array: Float32Array },
  f64: { name: "float64", array: Float64Array },
  f16: { name: "float16", array: Uint16Array },
  i8: { name: "int8", array: Int8Array },
  u8: { name: "uint8", array: Uint8Array },
  i16: { name: "int16", array: Int16Array },
  u16: { name: "uint16", array: Uint16Array },
  i32: { name: "int32", array: Int32Array },
  u32: { name: "uint32", array: Uint32Array },
  i64: { name: "int64", array: BigInt64Array },
  u64: { name: "uint64", array: BigUint64Array },
  bool: { name: "bool", array: Uint8Array },
} as const;

type Carried = keyof typeof ORT_TYPES;

const BY_NAME = new Map<string, DType>([
  ...(Object.keys(ORT_TYPES) as Carried[]).map((d): [string, DType] => [ORT_TYPES[d].name, d]),
  ["string", "string"],
]);

/** True when tensors of the type can be handed to and taken from onnxruntime-node. */
export function isCarried(dtype: DType): boolean {
  return dtype in ORT_TYPES || dtype === "string";
}

/** The dtype behind a type name of onnxruntime-node; `null` for those this project does not pass on. */
export function dtypeOfOrt(name: string): DType | null {
  return BY_NAME.get(name) ?? null;
}

/** A dense array as onnxruntime tensor; its memory is shared when its alignment allows. */
export function toOrt(ort: Ort, d: Dense): OrtTensor {
  const dims = [...d.dims];
  if (d.dtype === "string") {
    const text = new TextDecoder();
    const values = decodeStrings(d.bytes, elementCount(d.dims)).map((v) => text.decode(v));
    return new ort.Tensor("string", values, dims);
  }
  const row = ORT_TYPES[d.dtype as Carried];
  if (row === undefined) throw new Error(`onnxruntime-node cannot carry ${d.dtype}`);
  const size = row.array.BYTES_PER_ELEMENT;
  // The binding refuses memory shared between threads.
  const own = d.bytes.buffer instanceof ArrayBuffer ? d.bytes : new Uint8Array(d.bytes);
  const b = aligned(own, size);
  const data = new row.array(b.buffer as ArrayBuffer, b.byteOffset, b.length / size);
  return new ort.Tensor(row.name as "float32", data as Float32Array, dims);
}

/** A result of onnxruntime as dense array; the memory is shared. */
export function fromOrt(t: OrtTensor): Dense {
  const dtype = dtypeOfOrt(t.type);
  if (dtype === null) throw new Error(`onnxruntime returned a ${t.type} tensor`);
  if (dtype === "string") {
    const encoder = new TextEncoder();
    const values = (t.data as string[]).map((v) => encoder.encode(v));
    return { dtype, dims: t.dims, bytes: encodeStrings(values) };
  }
  return { dtype, dims: t.dims, bytes: bytesOf(t.data as unknown as ArrayBufferView) };
}
