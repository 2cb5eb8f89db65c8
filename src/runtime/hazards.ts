import { fail } from "../diagnostics/index.ts";
import { DTYPES, type DType } from "../ir/dtype.ts";
import {
  type Attr,
  attrInt,
  Graph,
  intAttr,
  type Model,
  type Node,
  subgraphs,
  type Value,
  type ValueId,
} from "../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../ir/infer.ts";
import { inlineTensor } from "../ir/tensor.ts";
import { type TensorType, tensorType } from "../ir/types.ts";
import { bytesOf } from "./kernels/elements.ts";
import { freshIds, plainNode } from "./rewrite.ts";

/** A node on which the pinned onnxruntime ends the process with a signal instead of reporting an error. */
interface Hazard {
  readonly why: string;
  readonly fatal: (node: Node, shapes: InferredShapes, graph: Graph) => boolean;
}

const inputShape = (node: Node, i: number, shapes: InferredShapes) => {
  const id = node.inputs[i];
  return id === null || id === undefined ? null : shapes.shape(id);
};

const hasEmptyInput = (node: Node, shapes: InferredShapes): boolean =>
  inputShape(node, 0, shapes)?.includes(0) === true;

/** Found by running operators with degenerate attributes and shapes on version 1.30.0; tested there. */
const HAZARDS: Readonly<Record<string, Hazard>> = {
  Attention: {
    why: "zero heads",
    fatal: (n) => attrInt(n, "q_num_heads") === 0 || attrInt(n, "kv_num_heads") === 0,
  },
  ConvTranspose: { why: "zero groups", fatal: (n) => attrInt(n, "group") === 0 },
  DFT: { why: "an empty signal", fatal: hasEmptyInput },
  InstanceNormalization: { why: "an empty input", fatal: hasEmptyInput },
  SplitToSequence: {
    why: "parts of a length that is not known to be positive",
    fatal: (n, _shapes, graph) => {
      const split = n.inputs[1];
      if (split === null || split === undefined) return false;
      const source = graph.constant(split)?.source;
      return source?.kind !== "inline" || source.bytes.every((b) => b === 0);
    },
  },
};

/** Integer division of the lowest number by -1 overflows, which traps on x86. */
const DIVISIONS: readonly string[] = ["Div", "Mod"];
const TRAPPING: readonly DType[] = ["i32", "i64"];

function needsLook(graph: Graph): boolean {
  for (const n of graph.nodes()) {
    if (n.domain === "" && (n.op in HAZARDS || DIVISIONS.includes(n.op))) return true;
    if (subgraphs(n).some(needsLook)) return true;
  }
  return false;
}

/**
 * A model that cannot end the process in the known ways: divisors of -1 are replaced where dividing by them would trap
 * (results are those of two's complement), everything else in the table fails with RUNTIME_REJECTED. `dims` are the
 * shapes the graph inputs will be fed with.
 */
export function withoutHazards(
  model: Model,
  dims: ReadonlyMap<string, readonly number[]> = new Map(),
): Model {
  if (!needsLook(model.graph)) return model;
  const inputTypes = new Map<ValueId, TensorType>();
  for (const id of model.graph.inputs) {
    const v = model.graph.value(id);
    const fed = dims.get(v.name);
    if (fed !== undefined && v.type?.kind === "tensor") inputTypes.set(id, tensorType(v.type.dtype, fed));
  }
  const shapes = inferShapes(model, { inputTypes });
  const graph = guarded(model.graph, shapes, freshIds(model.graph));
  return graph === model.graph ? model : { ...model, graph };
}

type Ids = ReturnType<typeof freshIds>;

function guarded(graph: Graph, shapes: InferredShapes, ids: Ids): Graph {
  const nodes: Node[] = [];
  const values: Value[] = [...graph.values()];
  let changed = false;
  for (const node of graph.nodes()) {
    const hazard = node.domain === "" ? HAZARDS[node.op] : undefined;
    if (hazard?.fatal(node, shapes, graph) === true) {
      fail("RUNTIME_REJECTED", {
        where: `the graph "${graph.name}"`,
        reason: `${node.op} "${node.name}" with ${hazard.why} would crash the runtime`,
      });
    }
    const next = guardedSubgraphs(guardedDivision(node, shapes, ids, nodes, values), shapes, ids);
    changed ||= next !== node;
    nodes.push(next);
  }
  if (!changed) return graph;
  const { name, meta, inputs, outputs } = graph;
  return new Graph({ ids: graph.ids, name, meta, nodes, values, inputs, outputs });
}

function guardedSubgraphs(node: Node, shapes: InferredShapes, ids: Ids): Node {
  if (subgraphs(node).length === 0) return node;
  const attrs = new Map<string, Attr>();
  let changed = false;
  for (const [key, attr] of node.attrs) {
    let next = attr;
    if (attr.kind === "graph") {
      const value = guarded(attr.value, shapes, ids);
      if (value !== attr.value) next = { kind: "graph", value };
    }
    changed ||= next !== attr;
    attrs.set(key, next);
  }
  return changed ? { ...node, attrs } : node;
}

/** a / b with b + 2·(b = -1 and a = lowest); for Mod the dividend does not matter, since a mod 1 = a mod -1 = 0. */
function guardedDivision(node: Node, shapes: InferredShapes, ids: Ids, nodes: Node[], values: Value[]): Node {
  const [a, b] = node.inputs;
  if (node.domain !== "" || !DIVISIONS.includes(node.op)) return node;
  if (a === null || a === undefined || b === null || b === undefined) return node;
  const dtype = shapes.dtype(b) ?? shapes.dtype(a);
  if (dtype === null || !TRAPPING.includes(dtype)) return node;

  const names = new Set(values.map((v) => v.name));
  const add = (init: Value["init"], producer: Value["producer"]): ValueId => {
    const id = ids.value();
    let name = `guard_${id}`;
    while (names.has(name)) name += "_";
    names.add(name);
    values.push({ id, name, type: null, producer, init });
    return id;
  };
  const constant = (value: bigint): ValueId => {
    const array = dtype === "i64" ? BigInt64Array.of(value) : Int32Array.of(Number(value));
    return add(inlineTensor(dtype, [], bytesOf(array)), null);
  };
  const apply = (op: string, inputs: readonly ValueId[], attrs?: Node["attrs"]): ValueId => {
    const id = ids.node();
    const out = add(null, id);
    nodes.push(plainNode(id, op, inputs, out, attrs));
    return out;
  };
  let trap = apply("Equal", [b, constant(-1n)]);
  if (node.op === "Div") {
    const lowest = constant(-(2n ** BigInt(DTYPES[dtype].bits - 1)));
    trap = apply("And", [trap, apply("Equal", [a, lowest])]);
  }
  const step = apply("Cast", [trap], new Map([["to", intAttr(DTYPES[dtype].onnx)]]));
  const divisor = apply("Add", [b, apply("Mul", [step, constant(2n)])]);
  return { ...node, inputs: [a, divisor] };
}
