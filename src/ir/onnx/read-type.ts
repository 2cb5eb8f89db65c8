import { canonicalDim } from "../dim.ts";
import { type DType, dtypeOf } from "../dtype.ts";
import type { Dim, ValueType } from "../types.ts";
import type { Cursor } from "./cursor.ts";
import { MAX_DIM_PARAM, MAX_RANK, OBJECT_BYTES } from "./limits.ts";
import type { TypeMeta } from "./meta.ts";
import { DIMENSION, SHAPE, TYPE, TYPE_ELEMENT, TYPE_MAP, TYPE_OPAQUE, TYPE_TENSOR } from "./schema.ts";

/** Makes the symbols of unnamed dims, in the order they are read. */
export interface DimNames {
  next: number;
}

/** Whether the standard spelling gives the message back; cleared by anything a {@link ValueType} cannot hold. */
interface Exact {
  exact: boolean;
}

/** Reads a TypeProto field; the wire bytes are kept where the type cannot say everything. */
export function readType(c: Cursor, names: DimNames): { type: ValueType | null; meta?: TypeMeta } {
  const state: Exact = { exact: true };
  const n = c.length();
  const start = c.position;
  const type = typeBody(c, names, state, start + n);
  return state.exact ? { type } : { type, meta: { of: type, wire: c.copy(start, n) } };
}

function nestedType(c: Cursor, names: DimNames, state: Exact): ValueType | null {
  const n = c.length();
  return typeBody(c, names, state, c.position + n);
}

function typeBody(c: Cursor, names: DimNames, state: Exact, end: number): ValueType | null {
  const outer = c.within(end);
  c.charge(OBJECT_BYTES);
  let type: ValueType | null = null;
  let seen = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case TYPE.tensor:
        type = tensorBody(c, names, state, "tensor");
        break;
      case TYPE.sparse:
        type = tensorBody(c, names, state, "sparse");
        break;
      case TYPE.sequence: {
        const element = elementBody(c, names, state);
        type = element && { kind: "sequence", element };
        break;
      }
      case TYPE.optional: {
        const element = elementBody(c, names, state);
        type = element && { kind: "optional", element };
        break;
      }
      case TYPE.map:
        type = mapBody(c, names, state);
        break;
      case TYPE.opaque:
        type = opaqueBody(c, state);
        break;
      default:
        c.skip(tag);
        state.exact = false;
        continue;
    }
    seen++;
  }
  c.leave(outer);
  if (seen !== 1 || type === null) state.exact = false;
  return type;
}

function elemType(c: Cursor): DType | null {
  return dtypeOf(c.int32());
}

function tensorBody(c: Cursor, names: DimNames, state: Exact, kind: "tensor" | "sparse"): ValueType | null {
  const outer = c.enter();
  let dtype: DType | null = null;
  let shape: readonly Dim[] | null = null;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === TYPE_TENSOR.elemType) dtype = elemType(c);
    else if (tag === TYPE_TENSOR.shape && shape === null) shape = shapeBody(c, names, state);
    else {
      c.skip(tag);
      state.exact = false;
    }
  }
  c.leave(outer);
  return dtype === null ? null : { kind, dtype, shape };
}

function shapeBody(c: Cursor, names: DimNames, state: Exact): readonly Dim[] {
  const outer = c.enter();
  const dims: Dim[] = [];
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === SHAPE.dim) {
      c.bound("the rank of a type", dims.length + 1, MAX_RANK, "no operator takes more axes");
      dims.push(dimension(c, names, state));
    } else {
      c.skip(tag);
      state.exact = false;
    }
  }
  c.leave(outer);
  return dims;
}

function dimension(c: Cursor, names: DimNames, state: Exact): Dim {
  const outer = c.enter();
  let dim: Dim | null = null;
  let fields = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === DIMENSION.value) {
      fields++;
      const value = c.int64();
      if (typeof value === "number" && value >= 0) dim = value;
      // Some exporters write -1 for "not known".
      else if (value === -1) state.exact = false;
      else c.malformed(`a dim of a type is ${value}`);
    } else if (tag === DIMENSION.param) {
      fields++;
      const text = c.name();
      dim = text.length <= MAX_DIM_PARAM && text !== "" && !text.includes("?") ? canonicalDim(text) : null;
      if (dim !== text) state.exact = false;
    } else {
      c.skip(tag);
      state.exact = false;
    }
  }
  c.leave(outer);
  if (fields > 1) state.exact = false;
  return dim ?? `?d${names.next++}`;
}

function elementBody(c: Cursor, names: DimNames, state: Exact): ValueType | null {
  const outer = c.enter();
  let element: ValueType | null = null;
  let seen = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === TYPE_ELEMENT.elemType) {
      seen++;
      element = nestedType(c, names, state);
    } else {
      c.skip(tag);
      state.exact = false;
    }
  }
  c.leave(outer);
  if (seen !== 1) state.exact = false;
  return element;
}

function mapBody(c: Cursor, names: DimNames, state: Exact): ValueType | null {
  const outer = c.enter();
  let key: DType | null = null;
  let value: ValueType | null = null;
  let seen = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === TYPE_MAP.keyType) key = elemType(c);
    else if (tag === TYPE_MAP.valueType) {
      seen++;
      value = nestedType(c, names, state);
    } else {
      c.skip(tag);
      state.exact = false;
    }
  }
  c.leave(outer);
  if (seen !== 1) state.exact = false;
  return key === null || value === null ? null : { kind: "map", key, value };
}

function opaqueBody(c: Cursor, state: Exact): ValueType {
  const outer = c.enter();
  let domain = "";
  let name = "";
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === TYPE_OPAQUE.domain) domain = c.name();
    else if (tag === TYPE_OPAQUE.name) name = c.name();
    else c.skip(tag);
  }
  c.leave(outer);
  // Rare enough to keep the bytes instead of tracking which fields were empty.
  state.exact = false;
  return { kind: "opaque", domain, name };
}
