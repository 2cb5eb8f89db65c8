import type { TensorSource } from "../tensor.ts";
import type { ValueType } from "../types.ts";
import type { Cursor } from "./cursor.ts";
import { MAX_LIST, MAX_NODES, NODE_BYTES, OBJECT_BYTES } from "./limits.ts";
import { type AttrMeta, type Kept, kept, type TypeMeta } from "./meta.ts";
import { type ReadContext, type ReadSparse, type ReadTensor, readSparse, readTensor } from "./read-tensor.ts";
import { readType } from "./read-type.ts";
import { ATTRIBUTE, ATTRIBUTE_TYPES, fieldBit, GRAPH, NODE, VALUE_INFO } from "./schema.ts";

/*
 * The first half of reading: messages become these records, in which values are still names. `bind.ts` turns names into
 * ids, which needs the whole graph because inputs and initializers follow the nodes in the file.
 */

export interface RawInfo {
  readonly name: string;
  readonly type: ValueType | null;
  readonly meta: TypeMeta | undefined;
  readonly kept: Kept;
  /** The whole field content, read only when asked: infos of values that are not there are kept as bytes. */
  readonly at: number;
  readonly start: number;
  readonly length: number;
}

/** An attribute before binding: like {@link Attr}, with unbound graphs. */
export type RawAttr =
  | { readonly kind: "int"; readonly value: number | bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: Uint8Array }
  | { readonly kind: "tensor"; readonly value: ReadTensor }
  | { readonly kind: "sparse"; readonly value: ReadSparse }
  | { readonly kind: "graph"; readonly value: RawGraph }
  | { readonly kind: "type"; readonly value: ReadTypeField }
  | { readonly kind: "ints"; readonly value: readonly (number | bigint)[] }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "strings"; readonly value: readonly Uint8Array[] }
  | { readonly kind: "tensors"; readonly value: readonly ReadTensor[] }
  | { readonly kind: "sparses"; readonly value: readonly ReadSparse[] }
  | { readonly kind: "graphs"; readonly value: readonly RawGraph[] }
  | { readonly kind: "types"; readonly value: readonly ReadTypeField[] }
  | { readonly kind: "ref"; readonly name: string; readonly type: number };

export interface ReadTypeField {
  readonly type: ValueType | null;
  readonly meta?: TypeMeta;
}

export interface RawNode {
  readonly at: number;
  readonly name: string;
  readonly op: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attrs: ReadonlyMap<string, RawAttr>;
  readonly attrMetas: Readonly<Record<string, AttrMeta>> | undefined;
  readonly kept: Kept;
}

export interface RawGraph {
  readonly at: number;
  readonly name: string;
  readonly nodes: readonly RawNode[];
  readonly initializers: readonly ReadTensor[];
  readonly sparse: readonly ReadSparse[];
  readonly inputs: readonly RawInfo[];
  readonly outputs: readonly RawInfo[];
  readonly valueInfo: readonly RawInfo[];
  readonly kept: Kept;
}

/** Reads a ValueInfoProto field. */
export function readInfo(ctx: ReadContext): RawInfo {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  const start = c.position;
  c.charge(OBJECT_BYTES);
  let name = "";
  let type: ValueType | null = null;
  let meta: TypeMeta | undefined;
  let seen = false;
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === VALUE_INFO.name) {
      name = c.name();
      if (name === "") present |= fieldBit(tag);
    } else if (tag === VALUE_INFO.type) {
      if (seen) c.malformed(`value "${name}" has two types`);
      seen = true;
      ({ type, meta } = readType(c, ctx.dims));
    } else extra = c.keep(tag, extra);
  }
  const length = c.end - start;
  c.leave(outer);
  return { name, type, meta, kept: kept(extra, present), at, start, length };
}

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
        g = readGraph(ctx);
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
        (graphs ??= []).push(readGraph(ctx));
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

/** Reads a NodeProto field. */
export function readNode(ctx: ReadContext): RawNode {
  const { c } = ctx;
  const at = c.fieldStart;
  c.bound("the number of nodes", ++ctx.nodes, MAX_NODES, "the largest known models have a twentieth of it");
  c.charge(NODE_BYTES);
  const outer = c.enter();
  let name = "";
  let op = "";
  let domain = "";
  let overload = "";
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attrs = new Map<string, RawAttr>();
  let attrMetas: Record<string, AttrMeta> | undefined;
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case NODE.input:
        inputs.push(c.name());
        break;
      case NODE.output:
        outputs.push(c.name());
        break;
      case NODE.name:
        name = c.name();
        if (name === "") present |= fieldBit(tag);
        break;
      case NODE.opType:
        op = c.name();
        break;
      case NODE.domain:
        domain = c.name();
        if (domain === "") present |= fieldBit(tag);
        break;
      case NODE.overload:
        overload = c.name();
        if (overload === "") present |= fieldBit(tag);
        break;
      case NODE.attribute: {
        const read = readAttribute(ctx);
        if (attrs.has(read.name)) c.malformed(`node "${name}" has attribute "${read.name}" twice`, at);
        attrs.set(read.name, read.attr);
        if (read.meta !== undefined) {
          attrMetas ??= Object.create(null) as Record<string, AttrMeta>;
          attrMetas[read.name] = read.meta;
        }
        break;
      }
      default:
        extra = c.keep(tag, extra);
    }
  }
  c.leave(outer);
  if (op === "") c.malformed(`node "${name}" has no operator`, at);
  return { at, name, op, domain, overload, inputs, outputs, attrs, attrMetas, kept: kept(extra, present) };
}

/** Reads a GraphProto field. */
export function readGraph(ctx: ReadContext): RawGraph {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  c.charge(NODE_BYTES);
  let name = "";
  const nodes: RawNode[] = [];
  const initializers: ReadTensor[] = [];
  const sparse: ReadSparse[] = [];
  const inputs: RawInfo[] = [];
  const outputs: RawInfo[] = [];
  const valueInfo: RawInfo[] = [];
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case GRAPH.node:
        nodes.push(readNode(ctx));
        break;
      case GRAPH.name:
        name = c.name();
        if (name === "") present |= fieldBit(tag);
        break;
      case GRAPH.initializer:
        initializers.push(readTensor(ctx));
        break;
      case GRAPH.sparseInitializer:
        sparse.push(readSparse(ctx));
        break;
      case GRAPH.input:
        inputs.push(readInfo(ctx));
        break;
      case GRAPH.output:
        outputs.push(readInfo(ctx));
        break;
      case GRAPH.valueInfo:
        valueInfo.push(readInfo(ctx));
        break;
      default:
        extra = c.keep(tag, extra);
    }
  }
  c.leave(outer);
  return { at, name, nodes, initializers, sparse, inputs, outputs, valueInfo, kept: kept(extra, present) };
}
