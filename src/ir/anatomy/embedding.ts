import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import type { Workshop } from "./draft.ts";
import type { Linear } from "./linear.ts";
import type { EmbeddingPart, GraphInput } from "./types.ts";
import { forward, layersBehind, ordered } from "./walk.ts";

/** What the outputs of a layer of the conditioning path meet first, going forward. */
interface Meets {
  readonly layers: ReadonlySet<Linear>;
  /** Nodes where the conditioning joins data of the sample. */
  readonly joins: readonly Node[];
}

/** Bound on the values followed from one layer. */
const MAX_VALUES = 2048;

/** Follows the conditioning forward from a layer to the next layers and to where it joins the sample's data. */
function meets(w: Workshop, start: ValueId): Meets {
  const layers = new Set<Linear>();
  const joins: Node[] = [];
  const queue: ValueId[] = [start];
  const seen = new Set<ValueId>(queue);
  for (let i = 0; i < queue.length && i < MAX_VALUES; i++) {
    for (const node of w.flow.users(queue[i]!)) {
      const layer = w.linears.of(node.id);
      if (layer !== undefined && layer.input === queue[i]) {
        layers.add(layer);
        continue;
      }
      for (const out of node.outputs) {
        if (out === null || seen.has(out)) continue;
        seen.add(out);
        if (w.isConditioning(out)) queue.push(out);
        else joins.push(node);
      }
    }
  }
  return { layers, joins };
}

/** Names the layers of the conditioning path and groups the embedding layers into parts. */
export function addEmbeddings(w: Workshop, inputs: readonly GraphInput[]): void {
  const { flow } = w;
  const timeBits = inputs
    .filter((i) => i.role === "timestep" || i.role === "guidance")
    .reduce((mask, i) => mask | flow.bit(i.value), 0);
  const modulating = new Set(modulators(w).values());
  const embeddings = new Map<EmbeddingPart["kind"], Linear[]>();
  for (const l of w.linears.list) {
    if (!w.isConditioning(l.input) || w.kinds.has(l.node.id)) continue;
    const ahead = meets(w, l.output);
    // A projection meets the sample's data before any other layer; an embedding meets the projections first.
    if (modulating.has(l.node.id)) w.name(l, "adaln");
    else if (ahead.layers.size > 0) {
      const kind = (flow.mask(l.input) & ~timeBits) === 0 ? "time-embedding" : "cond-embedding";
      w.name(l, kind === "time-embedding" ? "time.mlp" : "cond.mlp");
      const list = embeddings.get(kind) ?? [];
      list.push(l);
      embeddings.set(kind, list);
    } else if (ahead.joins.some((n) => opKey(n) === "Mul")) w.name(l, "adaln");
    else w.name(l, "time.proj");
  }
  for (const kind of ["time-embedding", "cond-embedding"] as const)
    for (const group of grouped(w, embeddings.get(kind) ?? [])) addEmbedding(w, kind, group, inputs);
}

/** Layer nodes that make scale and shift, by the value of the modulated norm. */
function modulators(w: Workshop): ReadonlyMap<ValueId, NodeId> {
  const out = new Map<ValueId, NodeId>();
  for (const [draft, linear] of w.modulatorOf) if (linear !== null) out.set(draft.output, linear);
  return out;
}

/** Layers that feed one another belong together. */
function grouped(w: Workshop, layers: readonly Linear[]): Linear[][] {
  const groups: Linear[][] = [];
  const of = new Map<Linear, Linear[]>();
  for (const l of layers) {
    const behind = layersBehind(w.flow, w.linears, l.input).layers;
    const group = behind.map((b) => of.get(b)).find((g) => g !== undefined) ?? [];
    if (group.length === 0) groups.push(group);
    group.push(l);
    of.set(l, group);
  }
  return groups;
}

function addEmbedding(
  w: Workshop,
  kind: EmbeddingPart["kind"],
  group: readonly Linear[],
  inputs: readonly GraphInput[],
): void {
  const [first, last] = [group[0], group.at(-1)];
  if (first === undefined || last === undefined) return;
  const between = group.flatMap((l) => layersBehind(w.flow, w.linears, l.input).nodes);
  const nodes = ordered(w.flow, [...between, ...group.flatMap((l) => w.layerNodes(l))]);
  const mask = w.flow.mask(last.output);
  w.add<EmbeddingPart>({
    kind,
    nodes: new Set(nodes),
    naming: ordered(
      w.flow,
      group.map((l) => l.node),
    ),
    input: first.input,
    output: last.output,
    finish: (base) => ({
      ...base,
      kind,
      layers: group.map((l) => l.node.id),
      inputs: inputs.filter((i) => (mask & w.flow.bit(i.value)) !== 0).map((i) => i.value),
    }),
  });
}

/** First and last layers, and names for what no pattern took. Returns the layers at the edges. */
export function nameEdges(w: Workshop, inputs: readonly GraphInput[]): ReadonlyMap<NodeId, "first" | "last"> {
  const { flow } = w;
  const edges = new Map<NodeId, "first" | "last">();
  for (const input of inputs) {
    if (input.role !== "sample") continue;
    let front = forward(flow, w.linears, input.value).layers;
    // Layers in a row, as a latent's own convolution in front of the first one of the network.
    for (let hop = 0; hop < 2 && front.length > 0; hop++) {
      for (const l of front) {
        edges.set(l.node.id, "first");
        w.name(l, "first");
      }
      front = front.flatMap((l) =>
        forward(flow, w.linears, l.output).layers.filter((n) => !w.kinds.has(n.node.id)),
      );
    }
  }
  const modulating = modulators(w);
  for (const output of flow.graph.outputs) {
    const behind = layersBehind(flow, w.linears, output);
    for (const l of behind.layers) {
      // A residual stream that runs to the output leads back to the layers that started it.
      const late = (flow.mask(l.input) & w.bits.sample) !== 0 && !edges.has(l.node.id);
      if (!late || w.kinds.has(l.node.id)) continue;
      edges.set(l.node.id, "last");
      w.name(l, "last");
      // The modulation of the norm in front of the last layer counts as last.
      const modulator = modulating.get(w.root(l.input));
      if (modulator !== undefined) edges.set(modulator, "last");
    }
  }
  for (const l of w.linears.list) {
    const mask = flow.mask(l.input);
    if (w.kinds.has(l.node.id)) continue;
    if (mask !== 0 && (mask & w.bits.sequence) === mask) w.name(l, "cond.proj");
    else w.name(l, "other");
  }
  return edges;
}
