import { DTYPES, type DType } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { Graph, intAttr, type Model, type Node, type Value, type ValueId } from "../ir/graph.ts";
import { tensorType } from "../ir/types.ts";
import { castKernel } from "./kernels/cast.ts";
import { freshIds, plainNode } from "./rewrite.ts";

/**
 * onnxruntime-node passes no bfloat16, 8-bit float or sub-byte tensors, although the runtime computes with them. Such
 * graph inputs and outputs travel in a wider type that holds every value, with a Cast at the border.
 */
const CARRIERS: Partial<Record<DType, DType>> = {
  bf16: "f32",
  f8e4m3fn: "f32",
  f8e4m3fnuz: "f32",
  f8e5m2: "f32",
  f8e5m2fnuz: "f32",
  f8e8m0: "f32",
  i4: "i8",
  i2: "i8",
  u4: "u8",
  u2: "u8",
};

/** A model whose inputs and outputs the binding accepts, and the types they had, by name. */
export interface CarriedModel {
  readonly model: Model;
  readonly inputs: ReadonlyMap<string, DType>;
  readonly outputs: ReadonlyMap<string, DType>;
}

function withoutMeta({ meta: _meta, ...value }: Value): Value {
  return value;
}

/** Puts Casts where inputs or outputs need them; the model itself when none does. `dtype` types values. */
export function carryModel(model: Model, dtype: (v: Value) => DType | null): CarriedModel {
  const { graph } = model;
  const needs = [...graph.inputs, ...graph.outputs].some((id) => {
    const type = dtype(graph.value(id));
    return type !== null && CARRIERS[type] !== undefined;
  });
  if (!needs) return { model, inputs: new Map(), outputs: new Map() };
  const values = new Map([...graph.values()].map((v) => [v.id, v]));
  const names = new Set([...graph.values()].map((v) => v.name));
  const before: Node[] = [];
  const after: Node[] = [];
  const inputs = new Map<string, DType>();
  const outputs = new Map<string, DType>();

  const ids = freshIds(graph);
  const cast = (from: ValueId, to: ValueId, type: DType): Node =>
    plainNode(ids.node(), "Cast", [from], to, new Map([["to", intAttr(DTYPES[type].onnx)]]));

  /** Gives the name of a value to a new one of another type. */
  function border(v: Value, type: DType): ValueId {
    const id = ids.value();
    const shape = v.type?.kind === "tensor" ? v.type.shape : null;
    let inner = `${v.name}/inner`;
    while (names.has(inner)) inner += "'";
    names.add(inner);
    values.set(v.id, { ...withoutMeta(v), name: inner });
    values.set(id, { id, name: v.name, type: tensorType(type, shape), producer: null, init: null });
    return id;
  }

  const graphInputs = graph.inputs.map((id) => {
    const v = values.get(id)!;
    const type = dtype(v);
    const carrier = type === null ? undefined : CARRIERS[type];
    if (type === null || carrier === undefined) return id;
    inputs.set(v.name, type);
    const outer = border(v, carrier);
    before.push(cast(outer, id, type));
    return outer;
  });
  const named = new Map(graph.outputs.map((id) => [id, graph.value(id).name]));
  const graphOutputs = graph.outputs.map((id) => {
    const v = values.get(id)!;
    const type = dtype(v);
    const carrier = type === null ? undefined : CARRIERS[type];
    if (type === null || carrier === undefined) return id;
    if (graph.inputs.includes(id)) return graphInputs[graph.inputs.indexOf(id)]!;
    outputs.set(named.get(id)!, type);
    const outer = border(v, carrier);
    after.push(cast(id, outer, carrier));
    return outer;
  });
  for (const [i, id] of graph.outputs.entries()) {
    const at = graph.inputs.indexOf(id);
    if (at >= 0 && graphOutputs[i] !== id) outputs.set(named.get(id)!, inputs.get(named.get(id)!)!);
  }
  const carried = new Graph({
    ids: graph.ids,
    name: graph.name,
    nodes: [...before, ...graph.nodes(), ...after],
    values: values.values(),
    inputs: graphInputs,
    outputs: graphOutputs,
  });
  return { model: { ...model, graph: carried }, inputs, outputs };
}

/** A dense array in another type; exact between a type and its carrier. */
export function convert(d: Dense, dtype: DType): Dense {
  if (d.dtype === dtype) return d;
  return castKernel.evaluate({ overflow: "ieee", report: false }, [d], [{ dtype, dims: d.dims }])[0]!;
}

/** The type a value of `dtype` travels in. */
export function carrierOf(dtype: DType): DType {
  return CARRIERS[dtype] ?? dtype;
}
