import { fail } from "../../diagnostics/index.ts";
import type { Attr, ModelFunction } from "../graph.ts";
import type { TensorSource } from "../tensor.ts";
import { type BindContext, bindAttr, bindGraph, plainDomain } from "./bind.ts";
import type { Cursor } from "./cursor.ts";
import { NODE_BYTES } from "./limits.ts";
import { type AttrMeta, type FunctionMeta, type Kept, kept, type OpsetMeta } from "./meta.ts";
import type { RawAttr, RawInfo, RawNode, ReadContext } from "./raw.ts";
import { readAttribute } from "./read-attribute.ts";
import { readInfo, readNode } from "./read-graph.ts";
import { FUNCTION, fieldBit, OPSET } from "./schema.ts";

/** A FunctionProto before its names are bound. */
export interface RawFunction {
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

/** opset_import entries as they are read. */
export interface Opsets {
  readonly versions: Map<string, number>;
  readonly metas: OpsetMeta[];
}

/** Reads an OperatorSetIdProto field. */
export function readOpset(c: Cursor, opsets: Opsets): void {
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

/** Reads a FunctionProto field. */
export function readFunction(ctx: ReadContext): RawFunction {
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

/** Binds function bodies; names of functions are checked to be unique. */
export function bindFunctions(bind: BindContext, functions: readonly RawFunction[]): ModelFunction[] {
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
