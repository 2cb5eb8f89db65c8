import { readFileSync } from "node:fs";
import { Writer } from "protobufjs/minimal.js";
import { DTYPES, elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { decodeModel } from "../../src/ir/onnx/index.ts";
import { encodeStrings } from "../../src/runtime/strings.ts";

const delimited = (field: number, bytes: Uint8Array): Uint8Array =>
  Writer.create()
    .uint32(field * 8 + 2)
    .bytes(bytes)
    .finish();
const number = (field: number, value: number): Uint8Array =>
  Writer.create()
    .uint32(field * 8)
    .uint32(value)
    .finish();
const utf8 = (text: string): Uint8Array => Buffer.from(text);

/** `AttributeProto.AttributeType.TENSOR`. */
const TENSOR = 4;

/** Reads a test file holding one TensorProto: it is put into a model and read like any other tensor. */
export function readTensorFile(path: string): Dense {
  const attribute = Buffer.concat([
    delimited(1, utf8("value")),
    delimited(5, readFileSync(path)),
    number(20, TENSOR),
  ]);
  const node = Buffer.concat([
    delimited(2, utf8("out")),
    delimited(4, utf8("Constant")),
    delimited(5, attribute),
  ]);
  const model = decodeModel(Buffer.concat([number(1, 8), delimited(7, delimited(1, node))]), path);
  const attr = [...model.graph.nodes()][0]?.attrs.get("value");
  if (attr?.kind !== "tensor") throw new Error(`${path} holds no tensor`);
  const { dtype, dims, source } = attr.value;
  if (source.kind === "strings") return { dtype, dims, bytes: encodeStrings(source.values) };
  if (source.kind !== "inline") throw new Error(`${path} was not read into memory`);
  return { dtype, dims, bytes: source.bytes };
}

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** How float elements are read, and the relative and absolute difference that still counts as rounding. */
const FLOATS: Readonly<
  Record<
    string,
    {
      readonly read: (v: DataView, i: number) => number;
      readonly relative: number;
      readonly absolute: number;
    }
  >
> = {
  f32: { read: (v, i) => v.getFloat32(i * 4, true), relative: 1e-3, absolute: 1e-5 },
  f64: { read: (v, i) => v.getFloat64(i * 8, true), relative: 1e-6, absolute: 1e-9 },
  f16: { read: (v, i) => half(v.getUint16(i * 2, true)), relative: 1e-2, absolute: 1e-3 },
};

/** Why two arrays are not the same result, or `null`. Integers and strings must be equal, floats close. */
export function difference(got: Dense, want: Dense): string | null {
  if (got.dtype !== want.dtype) return `${got.dtype} instead of ${want.dtype}`;
  if (got.dims.join() !== want.dims.join()) return `shape [${got.dims}] instead of [${want.dims}]`;
  const float = FLOATS[got.dtype];
  if (float === undefined) return Buffer.compare(got.bytes, want.bytes) === 0 ? null : "other values";
  const a = new DataView(got.bytes.buffer, got.bytes.byteOffset, got.bytes.byteLength);
  const b = new DataView(want.bytes.buffer, want.bytes.byteOffset, want.bytes.byteLength);
  if (DTYPES[got.dtype].bits === 0) throw new Error("strings are no floats");
  for (let i = 0; i < elementCount(got.dims); i++) {
    const x = float.read(a, i);
    const y = float.read(b, i);
    if (Object.is(x, y) || x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!(Math.abs(x - y) <= float.absolute + float.relative * Math.abs(y)))
      return `element ${i} is ${x} instead of ${y}`;
  }
  return null;
}
