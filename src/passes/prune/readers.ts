import type { Statistics, StatisticsRequest } from "../../calibrate/statistics/types.ts";
import type { Consumer, PruneGroup } from "../../ir/anatomy/groups/index.ts";
import { isFloat } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { weightRole } from "../../ir/ops/index.ts";
import type { TensorReader } from "../../ir/tensor.ts";
import { quadraticForm } from "../../numeric/linalg/product.ts";
import { type Reader, secondMoments } from "../../numeric/prune/repair.ts";
import { asF32 } from "../../runtime/kernels/elements.ts";
import { columnsOf, type RepairParams, readerOf } from "../../runtime/kernels/repair-columns.ts";
import { gramRequest, inputsOf, type LayerInputs } from "../quantize/grams.ts";
import { type LayerBias, layerBias } from "../quantize/layer-bias.ts";
import type { Layer } from "../quantize/layers.ts";

/** A layer that reads a group, with what is known of its inputs. */
export interface GroupReader {
  readonly consumer: Consumer;
  readonly layer: Layer;
  readonly params: Pick<RepairParams, "outAxis" | "taps" | "perTap">;
  readonly bias: LayerBias | null;
  readonly moments: LayerInputs;
  readonly reader: Reader;
  /** Columns of each unit in the reader. */
  readonly units: readonly Int32Array[];
  /** E‖output‖² about its mean where the bias follows, summed over outputs. */
  readonly signal: number;
}

/** The consumer as a layer with a weight. */
export function layerOf(graph: Graph, shapes: InferredShapes, consumer: Consumer): Layer | null {
  const node = graph.node(consumer.node);
  const role = weightRole(graph, shapes, node);
  const value = node.inputs[consumer.input]!;
  const tensor = graph.constant(value);
  return role === null || tensor === null || !isFloat(tensor.dtype) ? null : { node, role, value, tensor };
}

/** Gram matrices of the inputs of everything that reads the groups. */
export function gramsOf(
  graph: Graph,
  shapes: InferredShapes,
  groups: readonly PruneGroup[],
): StatisticsRequest | null {
  const nodes = new Set<number>();
  const grams = groups
    .flatMap((g) => g.consumers)
    .flatMap((c) => {
      const layer = nodes.has(c.node) ? null : layerOf(graph, shapes, c);
      nodes.add(c.node);
      const request = layer === null ? null : gramRequest(graph, shapes, layer);
      return request === null ? [] : [request];
    });
  return grams.length === 0 ? null : { values: [], grams };
}

const doubles = (bytes: Uint8Array): Float64Array =>
  new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);

/** All readers of a group; `null` when the inputs of one were not observed. */
export async function readersOf(
  graph: Graph,
  shapes: InferredShapes,
  group: PruneGroup,
  from: { readonly statistics: Statistics; readonly reader: TensorReader },
): Promise<readonly GroupReader[] | null> {
  const out: GroupReader[] = [];
  for (const consumer of group.consumers) {
    const layer = layerOf(graph, shapes, consumer);
    if (layer === null || layer.role.groups !== 1) return null;
    const { tensor, role } = layer;
    const outAxis = role.outAxis;
    if (outAxis !== 0 && tensor.dims.length !== 2) return null;
    const taps = tensor.dims.slice(2).reduce((a, b) => a * b, 1);
    const size = tensor.dims.reduce((a, b) => a * b, 1) / tensor.dims[outAxis]!;
    const full = inputsOf([layer], size, from.statistics);
    const moments = full ?? (taps > 1 ? inputsOf([layer], size / taps, from.statistics) : null);
    if (moments === null || moments.gram.source.kind !== "inline") return null;
    const params = { outAxis, taps, perTap: full === null };
    const bias = layerBias(graph, layer);
    const x = asF32({ dtype: tensor.dtype, dims: tensor.dims, bytes: await from.reader.read(tensor) });
    const mean = moments.mean.source;
    const reader = readerOf(x, tensor.dims, params, {
      gram: doubles(moments.gram.source.bytes),
      mean: bias === null || mean.kind !== "inline" ? null : doubles(mean.bytes),
    });
    out.push({
      consumer,
      layer,
      params,
      bias,
      moments,
      reader,
      units: consumer.columns.map((c) => columnsOf(c, params)),
      signal: quadraticForm(reader.weights, reader.rows, secondMoments(reader), reader.size),
    });
  }
  return out;
}
