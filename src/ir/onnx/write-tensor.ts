import { DTYPES } from "../dtype.ts";
import type { SparseTensor } from "../graph.ts";
import { type Tensor, tensorBytes } from "../tensor.ts";
import { type DataField, metaOf, type SparseMeta, type TensorMeta } from "./meta.ts";
import { ENTRY, EXTERNAL, fieldBit, SPARSE, TENSOR } from "./schema.ts";
import type { Sink } from "./sink.ts";
import { signExtended, TYPED_FIELDS, varintWidth } from "./typed.ts";

/** Where the writer puts the data of a tensor: `null` is in the model file. */
export type Place = { readonly file: string; readonly offset: number } | null;

/** Decides places; asked once for every tensor written. */
export type Placement = (tensor: Tensor) => Place;

/** Writes the fields of a TensorProto. `note` counts only while it belongs to this very tensor. */
export function writeTensor(
  out: Sink,
  tensor: Tensor,
  name: string,
  place: Place,
  note?: Partial<TensorMeta>,
): void {
  const meta: Partial<TensorMeta> = note?.of === tensor ? note : {};
  for (const d of tensor.dims) out.varint(TENSOR.dims, d);
  out.varint(TENSOR.dataType, DTYPES[tensor.dtype].onnx);
  const present = meta.present ?? 0;
  if (name !== "" || present & fieldBit(TENSOR.name)) out.string(TENSOR.name, name);
  const bytes = tensorBytes(tensor);
  if (place !== null) {
    writeEntry(out, "location", place.file);
    writeEntry(out, "offset", String(place.offset));
    writeEntry(out, "length", String(bytes));
    for (const entry of meta.entries ?? []) out.raw(entry);
    out.varint(TENSOR.dataLocation, EXTERNAL);
  } else {
    if (present & fieldBit(TENSOR.dataLocation)) out.varint(TENSOR.dataLocation, 0);
    writeData(out, tensor, bytes, meta.field ?? "raw");
  }
  for (const extra of meta.extra ?? []) out.raw(extra);
}

function writeEntry(out: Sink, key: string, value: string): void {
  out.message(TENSOR.externalData, (entry) => {
    entry.string(ENTRY.key, key);
    entry.string(ENTRY.value, value);
  });
}

function writeData(out: Sink, tensor: Tensor, bytes: number, field: DataField): void {
  if (tensor.source.kind === "strings") {
    for (const s of tensor.source.values) out.bytes(TENSOR.stringData, s);
    return;
  }
  if (field === "none" && bytes === 0) return;
  const typed = TYPED_FIELDS.find((f) => f.field === field);
  if (typed === undefined) {
    out.tensor(TENSOR.rawData, tensor, bytes);
  } else if (typed.fixed > 0) {
    out.tensor(typed.packed, tensor, bytes);
  } else if (tensor.source.kind === "inline") {
    const source = tensor.source.bytes;
    out.message(typed.packed, (data) => writeVarints(data, source, tensor));
  } else out.tensor(TENSOR.rawData, tensor, bytes);
}

function writeVarints(out: Sink, bytes: Uint8Array, { dtype }: Tensor): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = varintWidth(dtype);
  const signed = signExtended(dtype);
  for (let at = 0; at < bytes.length; at += width) {
    if (width === 8) out.integer(view.getBigInt64(at, true));
    else if (width === 4) out.integer(signed ? view.getInt32(at, true) : view.getUint32(at, true));
    else if (width === 2) out.integer(signed ? view.getInt16(at, true) : view.getUint16(at, true));
    else out.integer(signed ? view.getInt8(at) : view.getUint8(at));
  }
}

/** Writes the fields of a SparseTensorProto. */
export function writeSparse(out: Sink, sparse: SparseTensor, name: string, placement: Placement): void {
  const meta = metaOf<SparseMeta>(sparse.meta);
  out.message(SPARSE.values, (t) =>
    writeTensor(t, sparse.values, name, placement(sparse.values), meta.values),
  );
  out.message(SPARSE.indices, (t) =>
    writeTensor(t, sparse.indices, meta.indices?.name ?? "", placement(sparse.indices), meta.indices),
  );
  for (const d of sparse.dims) out.varint(SPARSE.dims, d);
  for (const extra of meta.extra ?? []) out.raw(extra);
}
