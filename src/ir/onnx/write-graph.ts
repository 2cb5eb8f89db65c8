import type { Attr, Graph, Model, ModelFunction, Node, Value, ValueId } from "../graph.ts";
import {
  type AttrMeta,
  type FunctionMeta,
  type GraphMeta,
  type ModelMeta,
  metaOf,
  type NodeMeta,
  type OpsetMeta,
  type TensorMeta,
  type TypeMeta,
  type ValueMeta,
} from "./meta.ts";
import { type Names, namesOf } from "./names.ts";
import { ATTRIBUTE, ATTRIBUTE_TYPES, FUNCTION, fieldBit, GRAPH, MODEL, NODE, OPSET } from "./schema.ts";
import { Sink } from "./sink.ts";
import { type Placement, writeSparse, writeTensor } from "./write-tensor.ts";
import { writeInfo, writeTypeField } from "./write-type.ts";

/** What every writing function shares. */
interface WriteContext {
  readonly placement: Placement;
}

/** Writes a ModelProto; tensor payloads that are not in memory stay open (see {@link Sink}). */
export function writeModelProto(model: Model, placement: Placement): Sink {
  const ctx: WriteContext = { placement };
  const meta = metaOf<ModelMeta>(model.meta);
  const present = meta.present ?? 0;
  const out = new Sink();
  out.varint(MODEL.irVersion, model.irVersion);
  optional(out, MODEL.producerName, model.producer.name, present);
  optional(out, MODEL.producerVersion, model.producer.version, present);
  writeOpsets(out, MODEL.opsetImport, model.opsets, meta.opsets);
  out.message(MODEL.graph, (g) => writeGraph(ctx, g, model.graph, namesOf(model.graph)));
  for (const f of model.functions) out.message(MODEL.functions, (o) => writeFunction(ctx, o, f));
  for (const extra of meta.extra ?? []) out.raw(extra);
  return out;
}

/** A string field that is left out when empty, unless the file had it empty. */
function optional(out: Sink, tag: number, value: string, present: number): void {
  if (value !== "" || present & fieldBit(tag)) out.string(tag, value);
}

function writeOpsets(
  out: Sink,
  tag: number,
  opsets: ReadonlyMap<string, number>,
  notes: readonly OpsetMeta[] | undefined,
): void {
  for (const [domain, version] of opsets) {
    const note = notes?.find((n) => n.domain === domain && n.version === version);
    if (note !== undefined) {
      if (note.wire !== null) out.bytes(tag, note.wire);
      continue;
    }
    out.message(tag, (o) => {
      o.string(OPSET.domain, domain);
      o.varint(OPSET.version, version);
    });
  }
}

/** Ids in the order the file had them, then the others. */
function ordered(before: readonly ValueId[] | undefined, all: readonly Value[]): readonly Value[] {
  if (before === undefined) return all;
  const left = new Map(all.map((v) => [v.id, v]));
  const out: Value[] = [];
  for (const id of before) {
    const value = left.get(id);
    if (value === undefined) continue;
    left.delete(id);
    out.push(value);
  }
  return [...out, ...left.values()];
}

function writeGraph(ctx: WriteContext, out: Sink, graph: Graph, names: Names): void {
  const meta = metaOf<GraphMeta>(graph.meta);
  for (const node of graph.nodes()) out.message(GRAPH.node, (n) => writeNode(ctx, n, node, names));
  optional(out, GRAPH.name, graph.name, meta.present ?? 0);
  const values = [...graph.values()];
  const constants = ordered(
    meta.initializers,
    values.filter((v) => v.init !== null || v.sparse !== undefined),
  );
  for (const v of constants) {
    const { init, sparse } = v;
    const name = names.of(v.id);
    if (init !== null)
      out.message(GRAPH.initializer, (t) =>
        writeTensor(t, init, name, ctx.placement(init), metaOf<ValueMeta>(v.meta).tensor),
      );
    if (sparse !== undefined)
      out.message(GRAPH.sparseInitializer, (t) => writeSparse(t, sparse, name, ctx.placement));
  }
  for (const id of graph.inputs) writeValue(out, GRAPH.input, graph.value(id), names);
  const inputs = new Set(graph.inputs);
  for (const [slot, id] of graph.outputs.entries()) {
    const note = meta.outputs?.find((o) => o.slot === slot && o.id === id);
    const value = graph.find(id);
    if (note !== undefined) out.bytes(GRAPH.output, note.wire);
    else if (value !== undefined) writeValue(out, GRAPH.output, value, names);
    else out.message(GRAPH.output, (o) => writeInfo(o, names.of(id), null, undefined, undefined));
  }
  const described = new Set([...inputs, ...graph.outputs]);
  writeValueInfo(out, GRAPH.valueInfo, values, meta, described, names);
  for (const extra of meta.extra ?? []) out.raw(extra);
}

function writeValue(out: Sink, tag: number, value: Value, names: Names): void {
  const meta = metaOf<ValueMeta>(value.meta);
  out.message(tag, (o) => writeInfo(o, names.of(value.id), value.type, meta.type, meta.info));
}

/** value_info of every typed value that is not an input or output, and of those the file described without type. */
function writeValueInfo(
  out: Sink,
  tag: number,
  values: readonly Value[],
  meta: Partial<GraphMeta>,
  described: ReadonlySet<ValueId>,
  names: Names,
): void {
  const before = new Set(meta.valueInfo);
  const info = values.filter((v) => !described.has(v.id) && (v.type !== null || before.has(v.id)));
  for (const v of ordered(meta.valueInfo, info)) writeValue(out, tag, v, names);
}

function writeNode(ctx: WriteContext, out: Sink, node: Node, names: Names): void {
  const meta = metaOf<NodeMeta>(node.meta);
  const present = meta.present ?? 0;
  for (const i of node.inputs) out.string(NODE.input, names.of(i));
  for (const o of node.outputs) out.string(NODE.output, names.of(o));
  optional(out, NODE.name, node.name, present);
  out.string(NODE.opType, node.op);
  for (const [name, attr] of node.attrs)
    out.message(NODE.attribute, (a) => writeAttribute(ctx, a, name, attr, names, meta.attrs?.[name]));
  const spelled = node.domain === "" ? (meta.domain ?? "") : node.domain;
  optional(out, NODE.domain, spelled, present);
  optional(out, NODE.overload, node.overload, present);
  for (const extra of meta.extra ?? []) out.raw(extra);
}

function writeAttribute(
  ctx: WriteContext,
  out: Sink,
  name: string,
  attr: Attr,
  names: Names,
  note: AttrMeta | undefined,
): void {
  out.string(ATTRIBUTE.name, name);
  const present = note?.present ?? 0;
  if (attr.kind === "ref") {
    out.string(ATTRIBUTE.refAttrName, attr.name);
    if (attr.type !== 0 || !note?.noType) out.varint(ATTRIBUTE.type, attr.type);
  } else {
    if (present & fieldBit(ATTRIBUTE.refAttrName)) out.string(ATTRIBUTE.refAttrName, "");
    if (note?.noType) {
      // The kind follows from the field that holds the value.
    } else out.varint(ATTRIBUTE.type, present & fieldBit(ATTRIBUTE.type) ? 0 : ATTRIBUTE_TYPES[attr.kind]);
    writeAttributeValue(ctx, out, attr, names, note?.noValue === true);
  }
  for (const extra of note?.extra ?? []) out.raw(extra);
}

function writeAttributeValue(
  ctx: WriteContext,
  out: Sink,
  attr: Exclude<Attr, { kind: "ref" }>,
  names: Names,
  leaveOut: boolean,
): void {
  const tensorNote = (meta: unknown): Partial<TensorMeta> => meta as Partial<TensorMeta>;
  switch (attr.kind) {
    case "int":
      if (!(leaveOut && Number(attr.value) === 0)) out.varint(ATTRIBUTE.i, attr.value);
      return;
    case "float":
      if (!(leaveOut && attr.value === 0)) out.float(ATTRIBUTE.f, attr.value);
      return;
    case "string":
      if (!(leaveOut && attr.value.length === 0)) out.bytes(ATTRIBUTE.s, attr.value);
      return;
    case "tensor": {
      const note = tensorNote(attr.meta ?? {});
      out.message(ATTRIBUTE.t, (t) =>
        writeTensor(t, attr.value, note.name ?? "", ctx.placement(attr.value), note),
      );
      return;
    }
    case "tensors":
      for (const [i, tensor] of attr.value.entries()) {
        const note = tensorNote(attr.metas?.[i] ?? {});
        out.message(ATTRIBUTE.tensors, (t) =>
          writeTensor(t, tensor, note.name ?? "", ctx.placement(tensor), note),
        );
      }
      return;
    case "sparse":
      out.message(ATTRIBUTE.sparseTensor, (t) =>
        writeSparse(t, attr.value, sparseName(attr.value.meta), ctx.placement),
      );
      return;
    case "sparses":
      for (const sparse of attr.value)
        out.message(ATTRIBUTE.sparseTensors, (t) =>
          writeSparse(t, sparse, sparseName(sparse.meta), ctx.placement),
        );
      return;
    case "graph":
      out.message(ATTRIBUTE.g, (g) => writeGraph(ctx, g, attr.value, names.inner(attr.value)));
      return;
    case "graphs":
      for (const graph of attr.value)
        out.message(ATTRIBUTE.graphs, (g) => writeGraph(ctx, g, graph, names.inner(graph)));
      return;
    case "type":
      writeTypeField(out, ATTRIBUTE.tp, attr.value, metaOf<TypeMeta>(attr.meta));
      return;
    case "types":
      for (const [i, type] of attr.value.entries())
        writeTypeField(out, ATTRIBUTE.typeProtos, type, metaOf<TypeMeta>(attr.metas?.[i]));
      return;
    case "ints":
      for (const v of attr.value) out.varint(ATTRIBUTE.ints, v);
      return;
    case "floats":
      for (const v of attr.value) out.float(ATTRIBUTE.floats, v);
      return;
    case "strings":
      for (const v of attr.value) out.bytes(ATTRIBUTE.strings, v);
      return;
  }
}

function sparseName(meta: unknown): string {
  return (meta as { values?: { name?: string } } | undefined)?.values?.name ?? "";
}

function writeFunction(ctx: WriteContext, out: Sink, f: ModelFunction): void {
  const meta = metaOf<FunctionMeta>(f.meta);
  const present = meta.present ?? 0;
  const names = namesOf(f.body);
  out.string(FUNCTION.name, f.name);
  for (const id of f.body.inputs) out.string(FUNCTION.input, names.of(id));
  for (const id of f.body.outputs) out.string(FUNCTION.output, names.of(id));
  for (const name of f.attributes) out.string(FUNCTION.attribute, name);
  for (const node of f.body.nodes()) out.message(FUNCTION.node, (n) => writeNode(ctx, n, node, names));
  writeOpsets(out, FUNCTION.opsetImport, f.opsets, meta.opsets);
  optional(out, FUNCTION.domain, f.domain === "" ? (meta.domain ?? "") : f.domain, present);
  for (const [name, attr] of f.defaults)
    out.message(FUNCTION.attributeProto, (a) =>
      writeAttribute(ctx, a, name, attr, names, meta.defaults?.[name]),
    );
  const values = [...f.body.values()];
  writeValueInfo(out, FUNCTION.valueInfo, values, metaOf<GraphMeta>(f.body.meta), new Set(), names);
  optional(out, FUNCTION.overload, f.overload, present);
  for (const extra of metaOf<GraphMeta>(f.body.meta).extra ?? []) out.raw(extra);
  for (const extra of meta.extra ?? []) out.raw(extra);
}
