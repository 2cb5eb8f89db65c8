import type { TensorSource } from "../tensor.ts";
import type { Cursor } from "./cursor.ts";
import { MAX_LIST, OBJECT_BYTES } from "./limits.ts";
import { type AttrMeta, kept } from "./meta.ts";
import type { RawAttr, RawGraph, ReadContext, ReadSparse, ReadTensor, ReadTypeField } from "./raw.ts";
import { readSparse, readTensor } from "./read-tensor.ts";
import { readType } from "./read-type.ts";
import { ATTRIBUTE, ATTRIBUTE_TYPES, fieldBit } from "./schema.ts";

const KIND_OF_TYPE = new Map<number, keyof typeof ATTRIBUTE_TYPES>(
  (Object.keys(ATTRIBUTE_TYPES) as (keyof typeof ATTRIBUTE_TYPES)[]).map((k) => [ATTRIBUTE_TYPES[k], k]),
);

/** Field number that holds the value of each attribute kind. */
const FIELD_OF_KIND: Readonly<Record<keyof typeof ATTRIBUTE_TYPES, number>> = {
  float: 2,
  int: 3,
  string: 4,
  tensor: 5,
  graph: 6,
  floats: 7,
  ints: 8,
  strings: 9,
  tensors: 10,
  graphs: 11,
  type: 14,
  types: 15,
  sparse: 22,
  sparses: 23,
};
const KIND_OF_FIELD = new Map(
  (Object.keys(FIELD_OF_KIND) as (keyof typeof FIELD_OF_KIND)[]).map((k) => [FIELD_OF_KIND[k], k]),
);

/** Memory one list element or small object takes, roughly. */
const SLOT = 8;

/** Reads an AttributeProto field. */
export function readAttribute(ctx: ReadContext): { name: string; attr: RawAttr; meta: AttrMeta | undefined } {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  const start = c.position;
  c.charge(OBJECT_BYTES);
  let name = "";
  let code = 0;
  let ref = "";
  let fields = 0;
  let i: number | bigint = 0;
  let f = 0;
  let s: Uint8Array | null = null;
  let t: ReadTensor | null = null;
  let g: RawGraph | null = null;
  let tp: ReadTypeField | null = null;
  let sparse: ReadSparse | null = null;
  let ints: (number | bigint)[] | null = null;
  let floats: number[] | null = null;
  let strings: Uint8Array[] | null = null;
  let tensors: ReadTensor[] | null = null;
  let graphs: RawGraph[] | null = null;
  let types: ReadTypeField[] | null = null;
  let sparses: ReadSparse[] | null = null;
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    fields |= fieldBit(tag);
    switch (tag) {
      case ATTRIBUTE.name:
        name = c.name();
        break;
      case ATTRIBUTE.type:
        code = c.int32();
        break;
      case ATTRIBUTE.refAttrName:
        ref = c.name();
        if (ref === "") present |= fieldBit(tag);
        break;
      case ATTRIBUTE.i:
        i = c.int64();
        break;
      case ATTRIBUTE.f:
        f = c.float();
        break;
      case ATTRIBUTE.s:
        s = c.bytes();
        break;
      case ATTRIBUTE.t:
        if (t !== null) c.malformed(`attribute "${name}" has two tensors`);
        t = readTensor(ctx);
        break;
      case ATTRIBUTE.g:
        if (g !== null) c.malformed(`attribute "${name}" has two graphs`);
        g = ctx.graph(ctx);
        break;
      case ATTRIBUTE.tp:
        if (tp !== null) c.malformed(`attribute "${name}" has two types`);
        tp = readType(c, ctx.dims);
        break;
      case ATTRIBUTE.sparseTensor:
        if (sparse !== null) c.malformed(`attribute "${name}" has two sparse tensors`);
        sparse = readSparse(ctx);
        break;
      case ATTRIBUTE.ints:
        slot(c, (ints ??= []));
        ints.push(c.int64());
        break;
      case ATTRIBUTE.floats:
        slot(c, (floats ??= []));
        floats.push(c.float());
        break;
      case ATTRIBUTE.intsPacked:
        packed(c, (ints ??= []), () => c.int64());
        break;
      case ATTRIBUTE.floatsPacked:
        packed(c, (floats ??= []), () => c.float());
        break;
      case ATTRIBUTE.strings:
        (strings ??= []).push(c.bytes());
        break;
      case ATTRIBUTE.tensors:
        (tensors ??= []).push(readTensor(ctx));
        break;
      case ATTRIBUTE.graphs:
        (graphs ??= []).push(ctx.graph(ctx));
        break;
      case ATTRIBUTE.typeProtos:
        (types ??= []).push(readType(c, ctx.dims));
        break;
      case ATTRIBUTE.sparseTensors:
        (sparses ??= []).push(readSparse(ctx));
        break;
      default:
        fields &= ~fieldBit(tag);
        extra = c.keep(tag, extra);
    }
  }
  const end = c.end;
  c.fieldStart = at;
  if (name === "") c.malformed("an attribute has no name");
  const noType = (fields & fieldBit(ATTRIBUTE.type)) === 0;
  const values = VALUE_FIELDS.filter((n) => (fields & (1 << n)) !== 0);
  let attr: RawAttr;
  let own = 0;
  if (ref !== "") {
    attr = { kind: "ref", name: ref, type: code };
  } else {
    const kind =
      KIND_OF_TYPE.get(code) ??
      (noType || code === 0
        ? (KIND_OF_FIELD.get(values[0] ?? 0) ?? "ints")
        : c.malformed(`attribute "${name}" has type ${code}`));
    own = FIELD_OF_KIND[kind];
    const missing = (): never => c.malformed(`attribute "${name}" has no ${kind}`);
    switch (kind) {
      case "int":
        attr = { kind, value: i };
        break;
      case "float":
        attr = { kind, value: f };
        break;
      case "string":
        attr = { kind, value: s ?? new Uint8Array(0) };
        break;
      case "tensor":
        attr = { kind, value: t ?? missing() };
        break;
      case "graph":
        attr = { kind, value: g ?? missing() };
        break;
      case "type":
        attr = { kind, value: tp ?? missing() };
        break;
      case "sparse":
        attr = { kind, value: sparse ?? missing() };
        break;
      case "ints":
        attr = { kind, value: ints ?? [] };
        break;
      case "floats":
        attr = { kind, value: floats ?? [] };
        break;
      case "strings":
        attr = { kind, value: strings ?? [] };
        break;
      case "tensors":
        attr = { kind, value: tensors ?? [] };
        break;
      case "graphs":
        attr = { kind, value: graphs ?? [] };
        break;
      case "types":
        attr = { kind, value: types ?? [] };
        break;
      case "sparses":
        attr = { kind, value: sparses ?? [] };
        break;
    }
  }
  // Values in fields that the type does not point to mean nothing, but they were there.
  if (values.some((n) => n !== own)) extra = foreignFields(c, start, end, own, extra);
  c.leave(outer);
  const scalar = attr.kind === "int" || attr.kind === "float" || attr.kind === "string";
  const noValue = scalar && (fields & (1 << own)) === 0;
  if (code === 0 && !noType) present |= fieldBit(ATTRIBUTE.type);
  const plain = extra === undefined && present === 0 && !noType && !noValue;
  const meta: AttrMeta | undefined = plain
    ? undefined
    : { ...kept(extra, present), ...(noType && { noType }), ...(noValue && { noValue }) };
  return { name, attr, meta };
}

const VALUE_FIELDS: readonly number[] = Object.values(FIELD_OF_KIND);

function slot(c: Cursor, list: readonly unknown[]): void {
  c.charge(SLOT);
  c.bound("the length of a list attribute", list.length, MAX_LIST, "the longest real ones have a sixteenth");
}

function packed<T>(c: Cursor, list: T[], read: () => T): void {
  const outer = c.enter();
  const end = c.end;
  while (c.position < end) {
    slot(c, list);
    list.push(read());
  }
  if (c.position > end) c.malformed("an element runs past the end of its field");
  c.leave(outer);
}

function foreignFields(
  c: Cursor,
  start: number,
  end: number,
  own: number,
  extra: TensorSource[] | undefined,
): TensorSource[] {
  let out = extra ?? [];
  c.seek(start);
  while (c.position < end) {
    const tag = c.tag();
    const field = tag >>> 3;
    if (field !== own && VALUE_FIELDS.includes(field)) out = c.keep(tag, out);
    else c.skip(tag);
  }
  return out;
}
