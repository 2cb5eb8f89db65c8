import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { Reader } from "protobufjs/minimal.js";

/*
 * Compares two ONNX files field by field with a decoder that shares no code with the product: every message is decoded
 * into (field number, values), known or not. Order within a repeated field counts, order between fields does not, and
 * packed and unpacked numbers are the same. External data compares by content.
 */

type Kind = "ints" | "floats" | "doubles" | "bytes" | MessageName;
type MessageName =
  | "Model"
  | "Graph"
  | "Node"
  | "Attribute"
  | "Tensor"
  | "Sparse"
  | "Info"
  | "Type"
  | "TypeTensor"
  | "TypeElement"
  | "TypeMap"
  | "Shape"
  | "Plain"
  | "Function"
  | "Training"
  | "Annotation"
  | "Segment"
  | "Configurations"
  | "Sharding"
  | "ShardedDim"
  | "IntIntList";

/** Message-typed and packable fields of onnx.proto; every other field compares as it is on the wire. */
const FIELDS: Readonly<Record<MessageName, Readonly<Record<number, Kind>>>> = {
  Model: { 7: "Graph", 8: "Plain", 14: "Plain", 20: "Training", 25: "Function", 26: "Plain" },
  Graph: {
    1: "Node",
    5: "Tensor",
    11: "Info",
    12: "Info",
    13: "Info",
    14: "Annotation",
    15: "Sparse",
    16: "Plain",
  },
  Node: { 5: "Attribute", 9: "Plain", 10: "Configurations" },
  Attribute: {
    5: "Tensor",
    6: "Graph",
    7: "floats",
    8: "ints",
    10: "Tensor",
    11: "Graph",
    14: "Type",
    15: "Type",
    22: "Sparse",
    23: "Sparse",
  },
  Tensor: {
    1: "ints",
    3: "Segment",
    4: "floats",
    5: "ints",
    7: "ints",
    10: "doubles",
    11: "ints",
    13: "Plain",
    16: "Plain",
  },
  Sparse: { 1: "Tensor", 2: "Tensor", 3: "ints" },
  Info: { 2: "Type", 4: "Plain" },
  Type: { 1: "TypeTensor", 4: "TypeElement", 5: "TypeMap", 7: "Plain", 8: "TypeTensor", 9: "TypeElement" },
  TypeTensor: { 2: "Shape" },
  TypeElement: { 1: "Type" },
  TypeMap: { 2: "Type" },
  Shape: { 1: "Plain" },
  Plain: {},
  Function: { 7: "Node", 9: "Plain", 11: "Attribute", 12: "Info", 14: "Plain" },
  Training: { 1: "Graph", 2: "Graph", 3: "Plain", 4: "Plain" },
  Annotation: { 2: "Plain" },
  Segment: {},
  Configurations: { 2: "Sharding" },
  Sharding: { 2: "ints", 3: "IntIntList", 4: "ShardedDim" },
  ShardedDim: { 2: "Plain" },
  IntIntList: { 2: "ints" },
};

/** A decoded message: values by field number, each printable. */
type Fields = Map<number, (string | Fields)[]>;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A string of any length as something short to compare. */
function brief(bytes: Uint8Array): string {
  return bytes.length <= 64 ? hex(bytes) : `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function varint(r: Reader): string {
  const v = r.uint64();
  return typeof v === "number" ? String(v) : v.toString();
}

function skipGroup(r: Reader, field: number): void {
  for (let tag = r.uint32(); tag !== field * 8 + 4; tag = r.uint32()) r.skipType(tag & 7);
}

function decode(bytes: Uint8Array, message: MessageName, file: string): Fields {
  const out: Fields = new Map();
  const put = (field: number, value: string | Fields): void => {
    const list = out.get(field);
    if (list === undefined) out.set(field, [value]);
    else list.push(value);
  };
  const r = Reader.create(bytes);
  while (r.pos < r.len) {
    const tag = r.uint32();
    const field = tag >>> 3;
    const kind = FIELDS[message][field];
    switch (tag & 7) {
      case 0:
        put(field, `v${varint(r)}`);
        break;
      case 1:
        put(field, `d${hex(bytes.slice(r.pos, r.pos + 8))}`);
        r.skip(8);
        break;
      case 5:
        put(field, `f${hex(bytes.slice(r.pos, r.pos + 4))}`);
        r.skip(4);
        break;
      case 3: {
        const start = r.pos;
        skipGroup(r, field);
        put(field, `g${brief(bytes.slice(start, r.pos))}`);
        break;
      }
      default: {
        const payload = r.bytes();
        if (kind === "ints") {
          const inner = Reader.create(payload);
          while (inner.pos < inner.len) put(field, `v${varint(inner)}`);
          // An empty packed field is no element at all.
        } else if (kind === "floats" || kind === "doubles") {
          const width = kind === "floats" ? 4 : 8;
          for (let at = 0; at < payload.length; at += width)
            put(field, `${kind === "floats" ? "f" : "d"}${hex(payload.slice(at, at + width))}`);
        } else if (kind === undefined || kind === "bytes") put(field, brief(payload));
        else put(field, nested(payload, kind, file));
      }
    }
  }
  if (message === "Tensor") resolveExternal(out, file);
  return out;
}

/** A field that should be a message; one that is none compares as bytes. */
function nested(payload: Uint8Array, kind: MessageName, file: string): Fields | string {
  try {
    return decode(payload, kind, file);
  } catch (e) {
    if (e instanceof RangeError) return brief(payload);
    throw e;
  }
}

const LOCATION = 14;
const ENTRIES = 13;
const RAW = 9;
const DIMS = 1;

/** Replaces location, offset and length by the content they stand for. */
function resolveExternal(tensor: Fields, file: string): void {
  if (tensor.get(LOCATION)?.[0] !== "v1") return;
  const entries = new Map<string, string>();
  const others: (string | Fields)[] = [];
  for (const entry of tensor.get(ENTRIES) ?? []) {
    if (typeof entry === "string") continue;
    const text = (field: number): string =>
      Buffer.from(String(entry.get(field)?.[0] ?? ""), "hex").toString();
    const key = text(1);
    if (key === "location" || key === "offset" || key === "length") entries.set(key, text(2));
    else others.push(entry);
  }
  tensor.delete(LOCATION);
  tensor.delete(ENTRIES);
  if (others.length > 0) tensor.set(ENTRIES, others);
  const length = entries.get("length");
  if (length === undefined)
    throw new Error(`external tensor of dims ${tensor.get(DIMS)?.join()} has no length`);
  const path = join(dirname(file), entries.get("location") ?? "");
  const fd = openSync(path, "r");
  const bytes = Buffer.alloc(Number(length));
  try {
    readSync(fd, bytes, 0, bytes.length, Number(entries.get("offset") ?? 0));
  } finally {
    closeSync(fd);
  }
  tensor.set(RAW, [brief(bytes)]);
}

/** Paths of differences between two messages, at most a few. */
function differences(a: Fields, b: Fields, path: string, out: string[]): void {
  for (const field of new Set([...a.keys(), ...b.keys()])) {
    const left = a.get(field) ?? [];
    const right = b.get(field) ?? [];
    const at = `${path}.${field}`;
    if (left.length !== right.length) out.push(`${at}: ${left.length} values became ${right.length}`);
    for (let i = 0; i < Math.min(left.length, right.length) && out.length < 20; i++) {
      const x = left[i]!;
      const y = right[i]!;
      if (typeof x === "string" || typeof y === "string") {
        if (x !== y) out.push(`${at}[${i}]: ${show(x)} became ${show(y)}`);
      } else differences(x, y, `${at}[${i}]`, out);
    }
  }
}

function show(value: string | Fields): string {
  return typeof value === "string" ? value.slice(0, 80) : "a message";
}

/** Differences between two encoded models, as field number paths; empty when they are equal field by field. */
export function compareModels(
  before: Uint8Array,
  after: Uint8Array,
  files: { readonly before: string; readonly after: string } = { before: "", after: "" },
): string[] {
  const out: string[] = [];
  differences(decode(before, "Model", files.before), decode(after, "Model", files.after), "model", out);
  return out;
}
