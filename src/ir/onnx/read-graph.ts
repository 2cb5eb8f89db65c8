import type { TensorSource } from "../tensor.ts";
import type { ValueType } from "../types.ts";
import { MAX_NODES, NODE_BYTES, OBJECT_BYTES } from "./limits.ts";
import { type AttrMeta, kept, type TypeMeta } from "./meta.ts";
import type { RawAttr, RawGraph, RawInfo, RawNode, ReadContext, ReadSparse, ReadTensor } from "./raw.ts";
import { readAttribute } from "./read-attribute.ts";
import { readSparse, readTensor } from "./read-tensor.ts";
import { readType } from "./read-type.ts";
import { fieldBit, GRAPH, NODE, VALUE_INFO } from "./schema.ts";

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
