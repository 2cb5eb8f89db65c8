import type { GramRequest, Statistics, Unfold } from "../../calibrate/statistics/types.ts";
import { elementCount } from "../../ir/dtype.ts";
import { attrInt, attrInts, attrString, type Graph, type Node } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { inlineTensor, type Tensor } from "../../ir/tensor.ts";
import type { Layer } from "./layers.ts";

/** Inputs of a layer beyond which no Gram matrix is asked for: 4096² float64 are 128 MiB. */
const MOST_INPUTS = 4096;

/** Where the summed inputs of a layer lie in its activation. */
interface InputLayout {
  readonly axis: number;
  readonly unfold: Unfold | null;
}

function convolution(node: Node, kernel: readonly number[]): InputLayout | null {
  const auto = attrString(node, "auto_pad") ?? "NOTSET";
  if (kernel.length !== 2 || auto !== "NOTSET" || (attrInt(node, "group") ?? 1) !== 1) return null;
  const pair = (name: string): readonly [number, number] => {
    const [a, b] = attrInts(node, name) ?? [1, 1];
    return [a!, b!];
  };
  const [top, left, bottom, right] = attrInts(node, "pads") ?? [0, 0, 0, 0];
  const strides = pair("strides");
  const plain = [...kernel, ...strides].every((v) => v === 1) && top! + left! + bottom! + right! === 0;
  if (plain) return { axis: 1, unfold: null };
  return {
    axis: 1,
    unfold: {
      kernel: [kernel[0]!, kernel[1]!],
      strides,
      pads: [top!, left!, bottom!, right!],
      dilations: pair("dilations"),
    },
  };
}

/** Operators whose inputs can be laid out as columns; adding one is a row here. `rank` is that of the activation. */
const LAYOUTS: Readonly<Record<string, (node: Node, rank: number, weight: Tensor) => InputLayout | null>> = {
  MatMul: (_n, rank) => ({ axis: rank - 1, unfold: null }),
  Gemm: (n, rank) => ({ axis: (attrInt(n, "transA") ?? 0) === 0 ? rank - 1 : 0, unfold: null }),
  Conv: (n, _rank, w) => convolution(n, w.dims.slice(2)),
};

/** What to ask for to know the Gram matrix of a layer's input; `null` where there is none of a usable size. */
export function gramRequest(graph: Graph, shapes: InferredShapes, layer: Layer): GramRequest | null {
  const { node, role, tensor } = layer;
  const id = node.inputs[role.activation];
  const layout = node.domain === "" ? LAYOUTS[node.op] : undefined;
  if (layout === undefined || id === null || id === undefined) return null;
  const rank = shapes.shape(id)?.length;
  const inputs = elementCount(tensor.dims) / tensor.dims[role.outAxis]!;
  if (rank === undefined || inputs > MOST_INPUTS || role.groups !== 1) return null;
  const place = layout(node, rank, tensor);
  if (place === null) return null;
  return { layer: node.name, value: graph.value(id).name, ...place };
}

/** Average Gram matrix and input of some layers that share a weight. */
export interface LayerInputs {
  readonly gram: Tensor;
  readonly mean: Tensor;
}

/** A float64 array as a constant tensor. */
export function doubles(x: Float64Array, dims: readonly number[]): Tensor {
  return inlineTensor("f64", dims, new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
}

/** Over all positions of all layers given; `null` when one of them was not observed at its full size. */
export function inputsOf(layers: readonly Layer[], size: number, statistics: Statistics): LayerInputs | null {
  const found = layers.map((l) => statistics.gram(l.node.name));
  const [only, ...more] = found;
  // Layers with one input share its matrix: no copy.
  if (more.length === 0 && only !== undefined && only.size === size && only.sums.length === 1)
    return { gram: doubles(only.sums[0]!, [size, size]), mean: doubles(only.means[0]!, [size]) };
  const gram = new Float64Array(size * size);
  const mean = new Float64Array(size);
  const positions = found.reduce((n, g) => n + (g?.positions.reduce((a, b) => a + b, 0) ?? 0), 0);
  for (const g of found) {
    if (g === undefined || g.size !== size || positions === 0) return null;
    for (const [b, sum] of g.sums.entries()) {
      const share = g.positions[b]! / positions;
      for (let i = 0; i < sum.length; i++) gram[i]! += share * sum[i]!;
      for (let i = 0; i < size; i++) mean[i]! += share * g.means[b]![i]!;
    }
  }
  return { gram: doubles(gram, [size, size]), mean: doubles(mean, [size]) };
}
