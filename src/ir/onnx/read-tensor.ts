import { fail } from "../../diagnostics/index.ts";
import { byteLength, DTYPES, dtypeOf, elementCount } from "../dtype.ts";
import type { Tensor, TensorSource } from "../tensor.ts";
import type { Cursor } from "./cursor.ts";
import { EXTRA_BYTES, INLINE_BYTES, MAX_ELEMENTS, MAX_RANK, OBJECT_BYTES } from "./limits.ts";
import { type DataField, kept, type SparseMeta } from "./meta.ts";
import type { ReadContext, ReadSparse, ReadTensor } from "./raw.ts";
import { type Run, typedData } from "./read-typed.ts";
import { ENTRY, EXTERNAL, fieldBit, SPARSE, TENSOR } from "./schema.ts";
import { typedField, typedFieldOf } from "./typed.ts";

/** One dim or a packed list of dims. Negative and absurd ones are refused. */
function readDims(c: Cursor, packed: boolean, dims: number[]): void {
  const outer = packed ? c.enter() : -1;
  const end = c.end;
  do {
    if (packed && c.position >= end) break;
    const d = c.int64();
    if (typeof d !== "number" || d < 0) c.malformed(`a tensor dim is ${d}`);
    c.bound("a tensor dim", d, MAX_ELEMENTS, "no storage holds that many elements");
    dims.push(d);
    c.bound("the rank of a tensor", dims.length, MAX_RANK, "no operator takes more axes");
  } while (packed);
  if (packed) c.leave(outer);
}

/** Zero-length axes do not count, so that no product of dims overflows. */
function boundElements(c: Cursor, dims: readonly number[]): void {
  const count = elementCount(dims.filter((d) => d !== 0));
  c.bound("the number of elements of a tensor", count, MAX_ELEMENTS, "no storage holds that many");
}

/** Reads a TensorProto field. Data above a small size is located, not read. */
export function readTensor(ctx: ReadContext): ReadTensor {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  c.charge(2 * OBJECT_BYTES);
  const dims: number[] = [];
  const runs: Run[] = [];
  const strings: Uint8Array[] = [];
  const entries = new Map<string, string>();
  let otherEntries: TensorSource[] | undefined;
  let name = "";
  let code = 0;
  let raw: { start: number; length: number } | null = null;
  let location = 0;
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case TENSOR.dims:
        readDims(c, false, dims);
        break;
      case TENSOR.dimsPacked:
        readDims(c, true, dims);
        break;
      case TENSOR.dataType:
        code = c.int32();
        break;
      case TENSOR.name:
        name = c.name();
        if (name === "") present |= fieldBit(tag);
        break;
      case TENSOR.rawData: {
        if (raw !== null) c.malformed("a tensor has raw_data twice");
        const length = c.length();
        raw = { start: c.position, length };
        c.seek(raw.start + length);
        break;
      }
      case TENSOR.stringData:
        strings.push(c.bytes());
        break;
      case TENSOR.externalData: {
        const from = c.fieldStart;
        const [key, value] = readEntry(c);
        if ((key === "location" || key === "offset" || key === "length") && !entries.has(key))
          entries.set(key, value);
        else (otherEntries ??= []).push(c.range(from, c.position - from, EXTRA_BYTES));
        break;
      }
      case TENSOR.dataLocation:
        location = c.int32();
        if (location === 0) present |= fieldBit(tag);
        break;
      default: {
        if (typedField(tag) === undefined) {
          extra = c.keep(tag, extra);
          break;
        }
        const last = runs[runs.length - 1];
        const start = c.fieldStart;
        c.skip(tag);
        if (last !== undefined && last.tag === tag && last.end === start) last.end = c.position;
        else {
          c.charge(OBJECT_BYTES);
          runs.push({ tag, start, end: c.position });
        }
      }
    }
  }
  const end = c.end;
  const invalid = (problem: string): never =>
    fail("ONNX_TENSOR_INVALID", { file: c.source.file, offset: at, tensor: name, problem });
  const dtype =
    dtypeOf(code) ?? fail("ONNX_DTYPE_UNKNOWN", { file: c.source.file, offset: at, tensor: name, code });
  boundElements(c, dims);
  const count = elementCount(dims);
  const bytes = byteLength(dtype, count);

  let field: DataField;
  let source: TensorSource;
  const ways = Number(raw !== null) + Number(runs.length > 0) + Number(strings.length > 0);
  if (location !== 0 && location !== EXTERNAL) invalid(`keeps its data at location ${location}`);
  if (location === EXTERNAL) {
    if (ways > 0) invalid("has both external and inline data");
    if (DTYPES[dtype].bits === 0) invalid("holds strings in external data");
    field = "external";
    source = ctx.external.locate(
      {
        tensor: name,
        at,
        location: entries.get("location"),
        offset: entries.get("offset"),
        length: entries.get("length"),
      },
      bytes,
    );
  } else {
    if (entries.size > 0) invalid("names external data without saying that it is external");
    if (ways > 1) invalid("has its data in several fields");
    if (DTYPES[dtype].bits === 0) {
      if (raw !== null || runs.length > 0) invalid("holds strings outside string_data");
      if (strings.length !== count) invalid(`has ${strings.length} strings for ${count} elements`);
      field = strings.length > 0 ? "strings" : "none";
      source = { kind: "strings", values: strings };
    } else if (strings.length > 0) {
      return invalid(`of type ${dtype} has string_data`);
    } else if (raw !== null) {
      if (raw.length !== bytes)
        invalid(`of type ${dtype}[${dims}] needs ${bytes} bytes, it has ${raw.length}`);
      field = "raw";
      source = c.range(raw.start, raw.length, INLINE_BYTES);
    } else if (runs.length > 0) {
      const typed = typedField(runs[0]!.tag)!;
      const want = typedFieldOf(dtype);
      if (typed.field !== want || runs.some((r) => typedField(r.tag) !== typed))
        invalid(`of type ${dtype} has ${typed.field}_data, expected ${want}_data`);
      field = typed.field;
      source = typedData(c, runs, typed, dtype, bytes, invalid);
    } else {
      if (bytes > 0) invalid(`of type ${dtype}[${dims}] needs ${bytes} bytes, it has no data`);
      field = "none";
      source = { kind: "inline", bytes: new Uint8Array(0) };
    }
  }
  c.seek(end);
  c.leave(outer);
  const tensor: Tensor = { dtype, dims, source };
  return {
    name,
    tensor,
    at,
    meta: { of: tensor, field, ...(otherEntries && { entries: otherEntries }), ...kept(extra, present) },
  };
}

function readEntry(c: Cursor): [string, string] {
  const outer = c.enter();
  let key = "";
  let value = "";
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === ENTRY.key) key = c.name();
    else if (tag === ENTRY.value) value = c.name();
    else c.skip(tag);
  }
  c.leave(outer);
  return [key, value];
}

/** Reads a SparseTensorProto field. */
export function readSparse(ctx: ReadContext): ReadSparse {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  const dims: number[] = [];
  let values: ReadTensor | null = null;
  let indices: ReadTensor | null = null;
  let extra: TensorSource[] | undefined;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === SPARSE.values && values === null) values = readTensor(ctx);
    else if (tag === SPARSE.indices && indices === null) indices = readTensor(ctx);
    else if (tag === SPARSE.dims) readDims(c, false, dims);
    else if (tag === SPARSE.dimsPacked) readDims(c, true, dims);
    else extra = c.keep(tag, extra);
  }
  c.leave(outer);
  const name = values?.name ?? "";
  const invalid = (problem: string): never =>
    fail("ONNX_TENSOR_INVALID", { file: c.source.file, offset: at, tensor: name, problem });
  if (values === null || indices === null) return invalid("is sparse and lacks values or indices");
  const nnz = elementCount(values.tensor.dims);
  const shape = indices.tensor.dims;
  if (indices.tensor.dtype !== "i64") invalid(`is sparse with ${indices.tensor.dtype} indices, expected i64`);
  const fits =
    values.tensor.dims.length === 1 &&
    shape[0] === nnz &&
    (shape.length === 1 || (shape.length === 2 && shape[1] === dims.length));
  if (!fits) invalid(`is sparse with values [${values.tensor.dims}], indices [${shape}] and dims [${dims}]`);
  boundElements(c, dims);
  const meta: SparseMeta = {
    values: values.meta,
    indices: { ...indices.meta, name: indices.name },
    ...kept(extra, 0),
  };
  return { name, at, sparse: { values: values.tensor, indices: indices.tensor, dims, meta } };
}
