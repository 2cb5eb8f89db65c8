import { fail } from "../../diagnostics/index.ts";
import { topologicalOrder } from "../apply.ts";
import {
  type Attr,
  Graph,
  type IdSource,
  type Node,
  type NodeId,
  type SparseTensor,
  type Value,
  type ValueId,
} from "../graph.ts";
import type { Tensor } from "../tensor.ts";
import type { ValueType } from "../types.ts";
import type { Cursor } from "./cursor.ts";
import { failOnCycle } from "./cycle.ts";
import { EXTRA_BYTES } from "./limits.ts";
import type { GraphMeta, Kept, NodeMeta, OutputMeta, TensorMeta, ValueMeta } from "./meta.ts";
import type { RawAttr, RawGraph, RawInfo, RawNode } from "./raw.ts";

/** A value while its graph is being bound. */
interface Draft {
  id: ValueId;
  name: string;
  type: ValueType | null;
  producer: NodeId | null;
  init: Tensor | null;
  sparse?: SparseTensor;
  meta?: ValueMeta;
  /** Index of the node that makes it; -1 for inputs and constants. */
  node: number;
}

/** Names visible inside a graph; `at` is the node being bound, so that later definitions can be told apart. */
interface Scope {
  readonly names: ReadonlyMap<string, Draft>;
  readonly outer: Scope | null;
  at: number;
  /** A node read a value that is made further down. */
  unsorted: boolean;
}

/** What binding needs besides the records. */
export interface BindContext {
  readonly ids: IdSource;
  readonly file: string;
  readonly c: Cursor;
}

/** What a graph is bound from: a GraphProto, or a function body, whose inputs and outputs are bare names. */
export interface RawBody extends Omit<RawGraph, "inputs" | "outputs"> {
  readonly inputs: readonly (RawInfo | string)[];
  readonly outputs: readonly (RawInfo | string)[];
}

const nameOf = (info: RawInfo | string): string => (typeof info === "string" ? info : info.name);

/** The domain `""` has a second spelling. */
export function plainDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

/** Turns the names of a graph into ids and checks that each is made once and before it is read. */
export function bindGraph(ctx: BindContext, raw: RawBody, outer: Scope | null): Graph {
  const names = new Map<string, Draft>();
  const scope: Scope = { names, outer, at: 0, unsorted: false };
  const duplicate = (what: string, name: string, offset: number): never =>
    fail("GRAPH_DUPLICATE", { file: ctx.file, offset, graph: raw.name, what, name });
  const define = (name: string, node: number, producer: NodeId | null, at: number, what: string): Draft => {
    const draft: Draft = { id: ctx.ids.value(), name, type: null, producer, init: null, node };
    if (names.has(name)) duplicate(what, name, at);
    names.set(name, draft);
    return draft;
  };
  const unnamed = (what: string, at: number): void =>
    ctx.c.malformed(`graph "${raw.name}" has ${what} without name`, at);

  const inputs: ValueId[] = [];
  for (const info of raw.inputs) {
    const at = typeof info === "string" ? raw.at : info.at;
    if (nameOf(info) === "") unnamed("an input", at);
    const draft = define(nameOf(info), -1, null, at, "graph input");
    if (typeof info !== "string") describe(draft, info);
    inputs.push(draft.id);
  }
  const constants: ValueId[] = [];
  for (const { name, tensor, meta, at } of raw.initializers) {
    if (name === "") unnamed("an initializer", at);
    const input = names.get(name);
    if (input !== undefined && input.init !== null) duplicate("initializer", name, at);
    const draft = input ?? define(name, -1, null, at, "initializer");
    draft.init = tensor;
    if (!isStandard(meta)) draft.meta = { ...draft.meta, tensor: meta };
    constants.push(draft.id);
  }
  for (const { name, sparse, at } of raw.sparse) {
    if (name === "") unnamed("a sparse initializer", at);
    const input = names.get(name);
    if (input !== undefined && (input.init !== null || input.sparse !== undefined))
      duplicate("initializer", name, at);
    const draft = input ?? define(name, -1, null, at, "initializer");
    draft.sparse = sparse;
    constants.push(draft.id);
  }
  const nodeIds: NodeId[] = [];
  for (const [index, node] of raw.nodes.entries()) {
    const id = ctx.ids.node();
    nodeIds.push(id);
    for (const o of node.outputs) if (o !== "") define(o, index, id, node.at, "value");
  }

  let nodes = raw.nodes.map((node, index) => {
    scope.at = index;
    return bindNode(ctx, node, nodeIds[index]!, scope, raw.name);
  });
  scope.at = raw.nodes.length;
  if (scope.unsorted) nodes = topologicalOrder(nodes) ?? failOnCycle(ctx.file, nodes);

  const valueInfo: ValueId[] = [];
  let stale: RawInfo[] | undefined;
  // Formal parameters of functions are bare names, which value_info may describe.
  const described = new Set(raw.inputs.filter((i) => typeof i !== "string").map(nameOf));
  const outputNames = new Set(raw.outputs.filter((o) => typeof o !== "string").map(nameOf));
  for (const info of raw.valueInfo) {
    const draft = names.get(info.name);
    if (draft === undefined || described.has(info.name) || outputNames.has(info.name)) {
      (stale ??= []).push(info);
      continue;
    }
    described.add(info.name);
    describe(draft, info);
    valueInfo.push(draft.id);
  }
  const outputs: ValueId[] = [];
  const outputMetas: OutputMeta[] = [];
  for (const [slot, info] of raw.outputs.entries()) {
    const name = nameOf(info);
    const at = typeof info === "string" ? raw.at : info.at;
    const draft = lookup(scope, name);
    if (draft === null)
      return fail("GRAPH_UNDEFINED", {
        file: ctx.file,
        offset: at,
        graph: raw.name,
        node: "an output",
        name,
      });
    outputs.push(draft.id);
    if (typeof info === "string") continue;
    if (names.get(name) === draft && !described.has(name)) {
      described.add(name);
      describe(draft, info);
    } else outputMetas.push({ slot, id: draft.id, wire: ctx.c.copy(info.start, info.length) });
  }

  const meta: GraphMeta = {
    ...withStale(ctx, raw.kept, stale),
    ...(valueInfo.length > 0 && { valueInfo }),
    ...(constants.length > 0 && { initializers: constants }),
    ...(outputMetas.length > 0 && { outputs: outputMetas }),
  };
  return new Graph({
    ids: ctx.ids,
    name: raw.name,
    meta,
    nodes,
    values: finished(names),
    inputs,
    outputs,
  });
}

function* finished(names: ReadonlyMap<string, Draft>): Iterable<Value> {
  for (const { node: _, ...value } of names.values()) yield value;
}

/** A tensor stored the standard way needs no note. */
function isStandard(meta: TensorMeta): boolean {
  return (
    meta.field === (meta.of.source.kind === "strings" ? "strings" : "raw") &&
    meta.extra === undefined &&
    meta.present === undefined
  );
}

function describe(draft: Draft, info: RawInfo): void {
  draft.type = info.type;
  const plain = info.kept.extra === undefined && info.kept.present === undefined;
  if (plain && info.meta === undefined) return;
  draft.meta = {
    ...draft.meta,
    ...(!plain && { info: info.kept }),
    ...(info.meta && { type: info.meta }),
  };
}

/** Infos of values the graph does not have are carried along as bytes. */
function withStale(ctx: BindContext, meta: Kept, stale: readonly RawInfo[] | undefined): Kept {
  if (stale === undefined) return meta;
  const extra = [...(meta.extra ?? [])];
  for (const info of stale) {
    // The field starts at its tag, `at`, and ends with its content.
    const length = info.start + info.length - info.at;
    extra.push(ctx.c.range(info.at, length, EXTRA_BYTES));
  }
  return { ...meta, extra };
}

/** Finds a name: made before the node being bound, in an outer graph, or (unsorted files) further down. */
function lookup(scope: Scope, name: string): Draft | null {
  for (let s: Scope | null = scope; s !== null; s = s.outer) {
    const draft = s.names.get(name);
    if (draft !== undefined && draft.node < s.at) return draft;
  }
  for (let s: Scope | null = scope; s !== null; s = s.outer) {
    const draft = s.names.get(name);
    if (draft === undefined) continue;
    s.unsorted = true;
    return draft;
  }
  return null;
}

function bindNode(ctx: BindContext, raw: RawNode, id: NodeId, scope: Scope, graph: string): Node {
  const inputs = raw.inputs.map((name) => {
    if (name === "") return null;
    const draft = lookup(scope, name);
    if (draft === null)
      return fail("GRAPH_UNDEFINED", {
        file: ctx.file,
        offset: raw.at,
        graph,
        node: `node "${raw.name}" (${raw.op})`,
        name,
      });
    return draft.id;
  });
  const outputs = raw.outputs.map((name) => (name === "" ? null : scope.names.get(name)!.id));
  const attrs = new Map<string, Attr>();
  for (const [key, attr] of raw.attrs) attrs.set(key, bindAttr(ctx, attr, scope));
  const meta: NodeMeta = {
    ...raw.kept,
    ...(raw.domain !== plainDomain(raw.domain) && { domain: raw.domain }),
    ...(raw.attrMetas && { attrs: raw.attrMetas }),
  };
  return {
    id,
    name: raw.name,
    domain: plainDomain(raw.domain),
    op: raw.op,
    overload: raw.overload,
    inputs,
    outputs,
    attrs,
    ...(Object.keys(meta).length > 0 && { meta }),
  };
}

const NO_TYPE: ValueType = { kind: "opaque", domain: "", name: "" };

/** Binds the graphs of an attribute; everything else is final already. */
export function bindAttr(ctx: BindContext, raw: RawAttr, scope: Scope | null): Attr {
  switch (raw.kind) {
    case "graph":
      return { kind: "graph", value: bindGraph(ctx, raw.value, scope) };
    case "graphs":
      return { kind: "graphs", value: raw.value.map((g) => bindGraph(ctx, g, scope)) };
    case "tensor":
      return {
        kind: "tensor",
        value: raw.value.tensor,
        ...(!(isStandard(raw.value.meta) && raw.value.name === "") && {
          meta: named(raw.value.meta, raw.value.name),
        }),
      };
    case "tensors":
      return {
        kind: "tensors",
        value: raw.value.map((t) => t.tensor),
        metas: raw.value.map((t) => named(t.meta, t.name)),
      };
    case "sparse":
      return { kind: "sparse", value: namedValues(raw.value.sparse, raw.value.name) };
    case "sparses":
      return { kind: "sparses", value: raw.value.map((s) => namedValues(s.sparse, s.name)) };
    case "type": {
      const value = raw.value.type ?? NO_TYPE;
      return { kind: "type", value, ...(raw.value.meta && { meta: { ...raw.value.meta, of: value } }) };
    }
    case "types": {
      const value = raw.value.map((t) => t.type ?? NO_TYPE);
      return {
        kind: "types",
        value,
        metas: raw.value.map((t, i) => (t.meta ? { ...t.meta, of: value[i]! } : {})),
      };
    }
    default:
      return raw;
  }
}

function named(meta: TensorMeta, name: string): TensorMeta {
  return name === "" ? meta : { ...meta, name };
}

function namedValues(sparse: SparseTensor, name: string): SparseTensor {
  const meta = sparse.meta as { values: TensorMeta } | undefined;
  if (meta === undefined || name === "") return sparse;
  return { ...sparse, meta: { ...sparse.meta, values: { ...meta.values, name } } };
}
