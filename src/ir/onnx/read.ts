import { fail } from "../../diagnostics/index.ts";
import { type Attr, IdSource, type Model, type ModelFunction } from "../graph.ts";
import type { TensorSource } from "../tensor.ts";
import { bindAttr, type BindContext, bindGraph, plainDomain } from "./bind.ts";
import { Cursor } from "./cursor.ts";
import { externalData } from "./external.ts";
import { NEWEST_IR, NODE_BYTES } from "./limits.ts";
import { type AttrMeta, type FunctionMeta, kept, type Kept, type ModelMeta, type OpsetMeta } from "./meta.ts";
import {
  type RawAttr,
  type RawGraph,
  type RawInfo,
  type RawNode,
  readAttribute,
  readGraph,
  readInfo,
  readNode,
} from "./read-graph.ts";
import type { ReadContext } from "./read-tensor.ts";
import { type ByteSource, fileSource, memorySource } from "./source.ts";
import { fieldBit, FUNCTION, MODEL, OPSET } from "./schema.ts";

/**
 * Reads an ONNX model file. Weights stay where they are: tensors above a small size name a range of the model file or
 * of its external data files, whose presence and size are checked. Fails with one of the ONNX_*, EXTERNAL_DATA_* and
 * GRAPH_* codes.
 */
export async function readModel(path: string): Promise<Model> {
  const source = fileSource(path);
  try {
    return parse(source, true, path);
  } finally {
    source.close();
  }
}

/**
 * Reads a model from memory; tensors are copied out, so `bytes` may be reused. `origin` names the model in diagnostics
 * and, when given, is the path whose folder external data is looked up in.
 */
export function decodeModel(bytes: Uint8Array, origin?: string): Model {
  return parse(memorySource(bytes, origin ?? "model in memory"), origin !== undefined, origin ?? null);
}

/** Earlier models import nothing and mean operator set 1 (ONNX IR specification, "Operator set identifiers"). */
const FIRST_IR_WITH_OPSETS = 3;

/** Start of the text files that Git LFS leaves in place of large files. */
const LFS_POINTER = "version https://git-lfs";

interface RawFunction {
  readonly at: number;
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
  readonly defaults: ReadonlyMap<string, RawAttr>;
  readonly defaultMetas: Readonly<Record<string, AttrMeta>> | undefined;
  readonly nodes: readonly RawNode[];
  readonly valueInfo: readonly RawInfo[];
  readonly opsets: Opsets;
  readonly kept: Kept;
}

interface Opsets {
  readonly versions: Map<string, number>;
  readonly metas: OpsetMeta[];
}

function parse(source: ByteSource, onDisk: boolean, path: string | null): Model {
  const c = new Cursor(source);
  if (source.size === 0) c.malformed("the file is empty");
  const ctx: ReadContext = {
    c,
    external: externalData(source.file, onDisk),
    dims: { next: 0 },
    nodes: 0,
  };
  const head = new Uint8Array(Math.min(source.size, LFS_POINTER.length));
  source.fill(head, 0, head.length);
  if (Buffer.from(head).toString("latin1") === LFS_POINTER)
    c.malformed("this is a Git LFS pointer, not the model itself; run `git lfs pull`");

  let irVersion = 0;
  let name = "";
  let version = "";
  let graph: RawGraph | null = null;
  const functions: RawFunction[] = [];
  const opsets: Opsets = { versions: new Map(), metas: [] };
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case MODEL.irVersion:
        irVersion = Number(c.int64());
        break;
      case MODEL.producerName:
        name = c.name();
        if (name === "") present |= fieldBit(tag);
        break;
      case MODEL.producerVersion:
        version = c.name();
        if (version === "") present |= fieldBit(tag);
        break;
      case MODEL.graph:
        if (graph !== null) c.malformed("the model has two graphs");
        graph = readGraph(ctx);
        break;
      case MODEL.opsetImport:
        readOpset(c, opsets);
        break;
      case MODEL.functions:
        functions.push(readFunction(ctx));
        break;
      default:
        extra = c.keep(tag, extra);
    }
  }
  if (graph === null) return c.malformed("there is no graph: this is not an ONNX model");
  if (irVersion < 1 || irVersion > NEWEST_IR)
    fail("ONNX_VERSION", { file: source.file, found: irVersion, newest: NEWEST_IR });
  if (irVersion < FIRST_IR_WITH_OPSETS && !opsets.versions.has("")) {
    opsets.versions.set("", 1);
    opsets.metas.push({ domain: "", version: 1, wire: null });
  }

  const bind: BindContext = { ids: new IdSource(), file: source.file, c };
  const main = bindGraph(bind, graph, null);
  const meta: ModelMeta = {
    ...kept(extra, present),
    ...(opsets.metas.length > 0 && { opsets: opsets.metas }),
  };
  return {
    graph: main,
    functions: bindFunctions(bind, functions),
    irVersion,
    opsets: opsets.versions,
    producer: { name, version },
    path,
    meta,
  };
}

function readOpset(c: Cursor, opsets: Opsets): void {
  const at = c.fieldStart;
  const outer = c.enter();
  const start = c.position;
  let domain = "";
  let version = 0;
  let standard = true;
  let named = false;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    if (tag === OPSET.domain) {
      domain = c.name();
      named = true;
    } else if (tag === OPSET.version) version = Number(c.int64());
    else {
      c.skip(tag);
      standard = false;
    }
  }
  const length = c.end - start;
  c.leave(outer);
  const plain = plainDomain(domain);
  if (opsets.versions.has(plain)) c.malformed(`operator set "${domain}" is imported twice`, at);
  if (!Number.isSafeInteger(version) || version < 0)
    c.malformed(`operator set "${domain}" has version ${version}`, at);
  c.charge(64);
  opsets.versions.set(plain, version);
  // The writer names every domain, the standard one with an empty string.
  if (!standard || !named || domain !== plain || version === 0)
    opsets.metas.push({ domain: plain, version, wire: c.copy(start, length) });
}

function readFunction(ctx: ReadContext): RawFunction {
  const { c } = ctx;
  const at = c.fieldStart;
  const outer = c.enter();
  c.charge(NODE_BYTES);
  let name = "";
  let domain = "";
  let overload = "";
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: string[] = [];
  const defaults = new Map<string, RawAttr>();
  let defaultMetas: Record<string, AttrMeta> | undefined;
  const nodes: RawNode[] = [];
  const valueInfo: RawInfo[] = [];
  const opsets: Opsets = { versions: new Map(), metas: [] };
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case FUNCTION.name:
        name = c.name();
        break;
      case FUNCTION.domain:
        domain = c.name();
        if (domain === "") present |= fieldBit(tag);
        break;
      case FUNCTION.overload:
        overload = c.name();
        if (overload === "") present |= fieldBit(tag);
        break;
      case FUNCTION.input:
        inputs.push(c.name());
        break;
      case FUNCTION.output:
        outputs.push(c.name());
        break;
      case FUNCTION.attribute:
        attributes.push(c.name());
        break;
      case FUNCTION.attributeProto: {
        const read = readAttribute(ctx);
        if (defaults.has(read.name)) c.malformed(`function "${name}" has default "${read.name}" twice`, at);
        defaults.set(read.name, read.attr);
        if (read.meta !== undefined) {
          defaultMetas ??= Object.create(null) as Record<string, AttrMeta>;
          defaultMetas[read.name] = read.meta;
        }
        break;
      }
      case FUNCTION.node:
        nodes.push(readNode(ctx));
        break;
      case FUNCTION.valueInfo:
        valueInfo.push(readInfo(ctx));
        break;
      case FUNCTION.opsetImport:
        readOpset(c, opsets);
        break;
      default:
        extra = c.keep(tag, extra);
    }
  }
  c.leave(outer);
  if (name === "") c.malformed("a function has no name", at);
  return {
    at,
    name,
    domain,
    overload,
    inputs,
    outputs,
    attributes,
    defaults,
    defaultMetas,
    nodes,
    valueInfo,
    opsets,
    kept: kept(extra, present),
  };
}

function bindFunctions(bind: BindContext, functions: readonly RawFunction[]): ModelFunction[] {
  const seen = new Set<string>();
  return functions.map((raw) => {
    const domain = plainDomain(raw.domain);
    const key = JSON.stringify([domain, raw.name, raw.overload]);
    if (seen.has(key))
      fail("GRAPH_DUPLICATE", {
        file: bind.file,
        offset: raw.at,
        graph: "",
        what: "function",
        name: raw.name,
      });
    seen.add(key);
    const body = bindGraph(
      bind,
      {
        at: raw.at,
        name: raw.name,
        nodes: raw.nodes,
        initializers: [],
        sparse: [],
        inputs: raw.inputs,
        outputs: raw.outputs,
        valueInfo: raw.valueInfo,
        kept: {},
      },
      null,
    );
    const defaults = new Map<string, Attr>();
    for (const [name, attr] of raw.defaults) defaults.set(name, bindAttr(bind, attr, null));
    const meta: FunctionMeta = {
      ...raw.kept,
      ...(raw.domain !== domain && { domain: raw.domain }),
      ...(raw.opsets.metas.length > 0 && { opsets: raw.opsets.metas }),
      ...(raw.defaultMetas && { defaults: raw.defaultMetas }),
    };
    return {
      domain,
      name: raw.name,
      overload: raw.overload,
      body,
      attributes: raw.attributes,
      defaults,
      opsets: raw.opsets.versions,
      meta,
    };
  });
}
