import { cloneModel } from "../ir/clone.ts";
import { DTYPES, isFloat } from "../ir/dtype.ts";
import { Graph, intAttr, type Model, type ValueId } from "../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../ir/infer.ts";
import { PatchBuilder } from "../ir/patch.ts";
import { i64Tensor } from "../ir/tensor.ts";
import { tensorType } from "../ir/types.ts";

/** A value to observe. */
export interface Observed {
  readonly id: ValueId;
  readonly name: string;
  /** Elements when every dim is known, else `null`. */
  readonly elements: number | null;
}

/** Reductions per value, in this order in the statistics output. The sum only serves to notice NaN. */
export const REDUCTIONS = ["ReduceMin", "ReduceMax", "ReduceSum"] as const;

/** A model that also returns statistics of some of its values. */
export interface Instrumented {
  readonly model: Model;
  /** Name of the float32 output, `[values × REDUCTIONS.length]`, one value after the other. */
  readonly output: string;
}

/**
 * Float values of the main graph that are computed or fed: graph inputs and node outputs, not constants, not values
 * inside subgraphs (they exist once per iteration, or not at all). In topological order. `bindings` give symbolic dims.
 */
export function observableValues(
  model: Model,
  bindings: Readonly<Record<string, number>> = {},
): readonly Observed[] {
  const shapes = inferShapes(model, { bindings });
  const { graph } = model;
  const found: Observed[] = [];
  const consider = (id: ValueId | null): void => {
    if (id === null) return;
    const dtype = shapes.dtype(id);
    const elements = count(shapes, id);
    if (dtype === null || !isFloat(dtype) || DTYPES[dtype].kind === "float8" || elements === 0) return;
    found.push({ id, name: graph.value(id).name, elements });
  };
  for (const id of graph.inputs) if (graph.value(id).init === null) consider(id);
  for (const node of graph.nodes()) for (const id of node.outputs) consider(id);
  return found;
}

function count(shapes: InferredShapes, id: ValueId): number | null {
  const dims = shapes.staticShape(id);
  return dims === null ? null : dims.reduce((a, b) => a * b, 1);
}

/**
 * A copy of a model with {@link REDUCTIONS} of each value gathered into one more output. Memory of a run grows by a few
 * numbers per value. The original is not touched; weights are shared, never loaded.
 */
export function instrument(model: Model, values: readonly Observed[]): Instrumented {
  const copy = cloneModel(model);
  const { graph } = copy;
  const shapes = inferShapes(model);
  const patch = new PatchBuilder(graph, "observe ranges");
  const one = patch.constant(i64Tensor([1]), "observe_shape");
  // onnxruntime runs the inputs of a node latest-listed first. Listing the reductions of late values first makes it
  // reduce each value as soon as it is there; the other way round every activation stays alive to the end of the run.
  const reversed: ValueId[] = [];
  for (const v of values.toReversed()) {
    const [source] =
      shapes.dtype(v.id) === "f32"
        ? [v.id]
        : patch.node({ op: "Cast", inputs: [v.id], attrs: { to: intAttr(DTYPES.f32.onnx) } });
    for (const op of REDUCTIONS.toReversed()) {
      const [scalar] = patch.node({ op, inputs: [source], attrs: { keepdims: intAttr(0) } });
      reversed.push(patch.node({ op: "Reshape", inputs: [scalar, one] })[0]);
    }
  }
  const gathered = reversed.toReversed();
  const [statistics] = patch.node({
    op: "Concat",
    name: "observe_statistics",
    inputs: gathered,
    attrs: { axis: intAttr(0) },
  });
  patch.retype(statistics, tensorType("f32", [gathered.length]));
  patch.apply();
  copy.graph = new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values: graph.values(),
    inputs: graph.inputs,
    outputs: [...graph.outputs, statistics],
  });
  return { model: copy, output: graph.value(statistics).name };
}
