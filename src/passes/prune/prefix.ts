import type { CrossGram, CrossRequest } from "../../calibrate/statistics/cross.ts";
import type { Graph, Model, NodeId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { TensorReader } from "../../ir/tensor.ts";
import type { AcrossMoments, AcrossReader } from "../../numeric/prune/across.ts";
import { asF32 } from "../../runtime/kernels/elements.ts";
import { type AcrossTensors, acrossReaderOf } from "../../runtime/kernels/repair-across.ts";
import { doubles, gramRequest } from "../quantize/grams.ts";
import { type LayerBias, layerBias } from "../quantize/layer-bias.ts";
import type { Layer } from "../quantize/layers.ts";
import { layerDepths } from "../quantize/stages.ts";
import type { Cut } from "./levels.ts";
import { type GroupReader, layerOf } from "./readers.ts";

/** A reader of a group with what its layer was in the original. */
export interface Across {
  readonly layer: Layer;
  /** The original's; corrections are added to it. */
  readonly bias: LayerBias | null;
  readonly reader: AcrossReader;
  readonly tensors: AcrossTensors;
}

/** Readers that are refitted to the original's outputs behind other layers, by node. */
export type AcrossReaders = ReadonlyMap<NodeId, Across>;

/** The model a pass started with. */
export interface Original {
  readonly model: Model;
  readonly shapes: InferredShapes;
}

/**
 * Cuts groups that lose something into at most `count` packages in the order the network computes what reads them,
 * about equally many in each. Groups of one package do not wait for each other.
 */
export function packagesOf(graph: Graph, cuts: readonly Cut[], count: number): Cut[][] {
  const consumers = cuts.flatMap((c) => c.group.consumers.map((x) => x.node));
  const depth = layerDepths(graph, new Set(consumers));
  const at = cuts.map((c) => Math.min(...c.group.consumers.map((x) => depth.get(x.node) ?? 0)));
  const levels = [...new Set(at)].sort((a, b) => a - b);
  const packages: Cut[][] = [];
  let seen = 0;
  for (const level of levels) {
    const members = cuts.filter((_, i) => at[i] === level);
    const place = Math.floor(((seen + members.length / 2) / cuts.length) * count);
    seen += members.length;
    while (packages.length <= place) packages.push([]);
    packages[place]!.push(...members);
  }
  return packages.filter((p) => p.length > 0);
}

/** What to ask for to refit the readers of some cuts behind other layers. */
export function crossRequests(graph: Graph, shapes: InferredShapes, cuts: readonly Cut[]): CrossRequest[] {
  const layers = new Map(cuts.flatMap((c) => (c.readers ?? []).map((r) => [r.layer.node.id, r.layer])));
  return [...layers.values()].flatMap((layer) => {
    const request = gramRequest(graph, shapes, layer);
    return request === null ? [] : [{ ...request, full: true }];
  });
}

/** Moments behind a cross-Gram that holds the original's too. */
export const acrossMoments = (c: CrossGram): AcrossMoments => ({
  own: c.own,
  cross: c.cross,
  original: c.original!,
  ownMean: c.ownMean,
  originalMean: c.originalMean,
});

/** A reader in both networks; `null` where it was not observed or its layer has other outputs by now. */
async function acrossOf(
  r: GroupReader,
  crossed: ReadonlyMap<string, CrossGram>,
  original: Original,
  reader: TensorReader,
): Promise<Across | null> {
  const c = crossed.get(r.layer.node.name);
  const { graph } = original.model;
  if (c?.original === undefined || !c.exact || c.size !== r.reader.size || !graph.hasNode(r.consumer.node))
    return null;
  const layer = layerOf(graph, original.shapes, r.consumer);
  if (layer === null) return null;
  const { outAxis } = r.params;
  const width = layer.tensor.dims.reduce((a, b) => a * b, 1) / layer.tensor.dims[outAxis]!;
  if (layer.tensor.dims[outAxis] !== r.layer.tensor.dims[outAxis] || width !== c.originalMean.length)
    return null;
  const bias = r.bias === null ? null : layerBias(graph, layer);
  const read = async ({ tensor }: Layer) => ({
    x: asF32({ dtype: tensor.dtype, dims: tensor.dims, bytes: await reader.read(tensor) }),
    dims: tensor.dims,
  });
  const params = { ...r.params, biased: bias !== null };
  const m = acrossMoments(c);
  return {
    layer,
    bias,
    reader: acrossReaderOf(await read(r.layer), await read(layer), params, m),
    tensors: {
      own: doubles(m.own, [c.size, c.size]),
      cross: doubles(m.cross, [c.size, width]),
      original: doubles(m.original, [width, width]),
      ownMean: doubles(m.ownMean, [c.size]),
      originalMean: doubles(m.originalMean, [width]),
    },
  };
}

/** Readers of some cuts in both networks, by node; those that cannot be compared are absent. */
export async function acrossReaders(
  cuts: readonly Cut[],
  crossed: ReadonlyMap<string, CrossGram>,
  original: Original,
  reader: TensorReader,
): Promise<AcrossReaders> {
  const out = new Map<NodeId, Across>();
  for (const r of cuts.flatMap((c) => c.readers ?? [])) {
    const found = r.params.perTap ? null : await acrossOf(r, crossed, original, reader);
    if (found !== null) out.set(r.consumer.node, found);
  }
  return out;
}
