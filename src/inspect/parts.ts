import type { Anatomy, LayerKind, PartKind } from "../ir/anatomy/index.ts";
import { elementCount } from "../ir/dtype.ts";
import type { Graph, NodeId } from "../ir/graph.ts";
import { tensorBytes } from "../ir/tensor.ts";
import type { Share } from "./types.ts";

/** Where a layer is counted. */
const BY_LAYER: Readonly<Record<LayerKind, string>> = {
  "attn.q": "attention",
  "attn.k": "attention",
  "attn.v": "attention",
  "attn.qkv": "attention",
  "attn.kv": "attention",
  "attn.out": "attention",
  "ff.in": "feed-forward",
  "ff.gate": "feed-forward",
  "ff.out": "feed-forward",
  conv1: "residual blocks",
  conv2: "residual blocks",
  shortcut: "residual blocks",
  "time.mlp": "time embedding",
  "time.proj": "time projections",
  "cond.mlp": "conditioning",
  "cond.proj": "conditioning",
  adaln: "adaLN modulation",
  "proj.in": "transformer projections",
  "proj.out": "transformer projections",
  first: "first and last layer",
  last: "first and last layer",
  downsample: "samplers",
  upsample: "samplers",
  other: "other",
};

/** Where a node is counted that is no layer, by the innermost part it lies in. */
const BY_PART: Readonly<Record<PartKind, string>> = {
  norm: "norms",
  activation: "activations",
  modulation: "adaLN modulation",
  attention: "attention",
  "feed-forward": "feed-forward",
  resblock: "residual blocks",
  "transformer-block": "transformer blocks",
  "spatial-transformer": "transformer projections",
  "skip-concat": "skip connections",
  downsample: "samplers",
  upsample: "samplers",
  "time-embedding": "time embedding",
  "cond-embedding": "conditioning",
};

const OTHER = "other";

/** The part of the network a node belongs to, one of the names of the inspection table. */
function partNames(anatomy: Anatomy): (id: NodeId) => string {
  return (id) => {
    const layer = anatomy.layer(id);
    if (layer !== undefined && layer.kind !== "other") return BY_LAYER[layer.kind];
    const parts = anatomy.byNode(id);
    const innermost = parts[parts.length - 1];
    return innermost === undefined ? OTHER : BY_PART[innermost.kind];
  };
}

interface Row {
  nodes: number;
  tensors: number;
  parameters: number;
  bytes: number;
}

/** Nodes, parameters and bytes per part of the network, largest first. A constant counts where it is first read. */
export function byPart(graph: Graph, anatomy: Anatomy): ({ part: string; nodes: number } & Share)[] {
  const nameOf = partNames(anatomy);
  const rows = new Map<string, Row>();
  const row = (part: string): Row => {
    let r = rows.get(part);
    if (r === undefined) rows.set(part, (r = { nodes: 0, tensors: 0, parameters: 0, bytes: 0 }));
    return r;
  };
  const seen = new Set<number>();
  for (const node of graph.nodes()) {
    const r = row(nameOf(node.id));
    r.nodes++;
    const tensors = [...node.attrs.values()].flatMap((a) => (a.kind === "tensor" ? [a.value] : []));
    for (const id of node.inputs) {
      if (id === null || seen.has(id)) continue;
      const init = graph.find(id)?.init;
      if (init === null || init === undefined) continue;
      seen.add(id);
      tensors.push(init);
    }
    for (const t of tensors) {
      r.tensors++;
      r.parameters += elementCount(t.dims);
      r.bytes += tensorBytes(t);
    }
  }
  return [...rows]
    .map(([part, r]) => ({ part, ...r }))
    .sort((a, b) => b.bytes - a.bytes || b.nodes - a.nodes || (a.part < b.part ? -1 : 1));
}
