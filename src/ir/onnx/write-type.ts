import { isUnknown } from "../dim.ts";
import { DTYPES } from "../dtype.ts";
import type { ValueType } from "../types.ts";
import type { Kept, TypeMeta } from "./meta.ts";
import {
  DIMENSION,
  fieldBit,
  SHAPE,
  TYPE,
  TYPE_ELEMENT,
  TYPE_MAP,
  TYPE_OPAQUE,
  TYPE_TENSOR,
  VALUE_INFO,
} from "./schema.ts";
import type { Sink } from "./sink.ts";

/** Writes a TypeProto field, as it was read while it is the same type. Nothing when there is no type. */
export function writeTypeField(
  out: Sink,
  tag: number,
  type: ValueType | null,
  note: Partial<TypeMeta> | undefined,
): void {
  if (note?.wire !== undefined && note.of === type) out.bytes(tag, note.wire);
  else if (type !== null) out.message(tag, (inner) => writeType(inner, type));
}

/** Writes the fields of a TypeProto. Dims that contain an unknown become dims without value. */
function writeType(out: Sink, type: ValueType): void {
  switch (type.kind) {
    case "tensor":
    case "sparse":
      out.message(type.kind === "tensor" ? TYPE.tensor : TYPE.sparse, (t) => {
        t.varint(TYPE_TENSOR.elemType, DTYPES[type.dtype].onnx);
        const { shape } = type;
        if (shape === null) return;
        t.message(TYPE_TENSOR.shape, (s) => {
          for (const d of shape)
            s.message(SHAPE.dim, (dim) => {
              if (typeof d === "number") dim.varint(DIMENSION.value, d);
              else if (!isUnknown(d)) dim.string(DIMENSION.param, d);
            });
        });
      });
      return;
    case "sequence":
    case "optional":
      out.message(type.kind === "sequence" ? TYPE.sequence : TYPE.optional, (t) =>
        t.message(TYPE_ELEMENT.elemType, (e) => writeType(e, type.element)),
      );
      return;
    case "map":
      out.message(TYPE.map, (t) => {
        t.varint(TYPE_MAP.keyType, DTYPES[type.key].onnx);
        t.message(TYPE_MAP.valueType, (v) => writeType(v, type.value));
      });
      return;
    case "opaque":
      out.message(TYPE.opaque, (t) => {
        t.string(TYPE_OPAQUE.domain, type.domain);
        t.string(TYPE_OPAQUE.name, type.name);
      });
      return;
  }
}

/** Writes the fields of a ValueInfoProto. */
export function writeInfo(
  out: Sink,
  name: string,
  type: ValueType | null,
  note: Partial<TypeMeta> | undefined,
  kept: Kept | undefined,
): void {
  if (name !== "" || (kept?.present ?? 0) & fieldBit(VALUE_INFO.name)) out.string(VALUE_INFO.name, name);
  writeTypeField(out, VALUE_INFO.type, type, note);
  for (const extra of kept?.extra ?? []) out.raw(extra);
}
