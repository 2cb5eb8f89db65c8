import type { NodeId, ValueId } from "../graph.ts";
import { type AttentionMatch, throughIdentity } from "../pattern/index.ts";
import type { Draft, Workshop } from "./draft.ts";
import type { Linear } from "./linear.ts";
import { residualAfter } from "./residual.ts";
import type { AttentionPart, LayerKind, ResidualJoin } from "./types.ts";
import { forward, layersBehind, ordered } from "./walk.ts";

/** An attention with what later steps need before part numbers exist. */
export interface AttentionDraft {
  readonly draft: Draft<AttentionPart>;
  readonly match: AttentionMatch;
  readonly residuals: readonly ResidualJoin[];
}

/** Layers that make one of q, k, v. */
function projections(w: Workshop, value: ValueId): { layers: readonly Linear[]; nodes: readonly NodeId[] } {
  const behind = layersBehind(w.flow, w.linears, value, (n) => n.op !== "Softmax");
  // A stream that is not projected at all, or more than two, means the search left the attention.
  if (behind.layers.length > 2) return { layers: [], nodes: [] };
  return { layers: behind.layers, nodes: behind.complete ? w.ids(behind.nodes) : [] };
}

/** Layers that read the joined heads: through moves, slices of a joint sequence, or one concatenation. */
function outputLayers(
  w: Workshop,
  match: AttentionMatch,
): { layers: readonly Linear[]; nodes: readonly NodeId[] } {
  const reach = forward(w.flow, w.linears, match.merged ?? match.output);
  if (reach.layers.length > 0) return { layers: reach.layers, nodes: w.ids(reach.nodes) };
  for (const { node } of reach.ends) {
    const out = node.outputs[0];
    if (node.op !== "Concat" || out === null || out === undefined) continue;
    const after = forward(w.flow, w.linears, out);
    if (after.layers.length > 0) return { layers: after.layers, nodes: [...w.ids(reach.nodes), node.id] };
  }
  return { layers: [], nodes: [] };
}

function seesWhat(
  w: Workshop,
  q: readonly Linear[],
  k: readonly Linear[],
  match: AttentionMatch,
): AttentionPart["sees"] {
  const inputs = (layers: readonly Linear[], fallback: ValueId): ReadonlySet<ValueId> =>
    new Set(
      layers.length === 0 ? [w.root(fallback)] : layers.map((l) => throughIdentity(w.flow.scope, l.input)),
    );
  const [a, b] = [inputs(q, match.q.source), inputs(k, match.k.source)];
  if (a.size > 1 && b.size > 1) return "joint";
  return [...a].every((v) => b.has(v)) && a.size === b.size ? "self" : "cross";
}

/** Finds the projections around every attention and what it attends to. */
export function addAttentions(w: Workshop): AttentionDraft[] {
  const out: AttentionDraft[] = [];
  for (const match of w.structures.attentions) {
    const packed = w.linears.of(match.softmax);
    const q = packed === undefined ? projections(w, match.q.value) : { layers: [packed], nodes: [] };
    const k = packed === undefined ? projections(w, match.k.value) : q;
    const v = packed === undefined ? projections(w, match.v.value) : q;
    const o = outputLayers(w, match);
    const residuals: ResidualJoin[] = [];
    const tail: NodeId[] = [];
    for (const l of o.layers) {
      const r = residualAfter(w, l.output);
      if (r === null) continue;
      residuals.push(r.join);
      tail.push(...r.nodes);
    }
    for (const [list, kind] of [
      [q, "q"],
      [k, "k"],
      [v, "v"],
    ] as const)
      if (list.layers.length === 0)
        w.misses.push({
          pattern: "attention-projection",
          node: match.softmax,
          why: `no single layer makes ${kind}`,
        });
    const qs = new Set(q.layers);
    const ks = new Set(k.layers);
    for (const l of new Set([...q.layers, ...k.layers, ...v.layers])) {
      const roles = [qs.has(l) ? "q" : "", ks.has(l) ? "k" : "", v.layers.includes(l) ? "v" : ""].join("");
      const kind: LayerKind =
        roles === "qkv" ? "attn.qkv" : roles === "kv" ? "attn.kv" : (`attn.${roles[0] ?? "q"}` as LayerKind);
      w.name(l, kind);
    }
    for (const l of o.layers) w.name(l, "attn.out");
    const layers = [...new Set([...q.layers, ...k.layers, ...v.layers, ...o.layers])];
    const input = q.layers[0]?.input ?? match.q.source;
    const last = residuals[0]?.output ?? o.layers[0]?.output ?? match.merged ?? match.output;
    const draft = w.add<AttentionPart>({
      kind: "attention",
      nodes: new Set(
        ordered(w.flow, [
          ...match.nodes,
          ...q.nodes,
          ...k.nodes,
          ...v.nodes,
          ...o.nodes,
          ...layers.flatMap((l) => w.layerNodes(l)),
          ...tail.slice(0, -1),
        ]),
      ),
      naming: ordered(w.flow, [match.softmax, ...layers.map((l) => l.node)]),
      input,
      output: last,
      finish: (base) => ({
        ...base,
        kind: "attention",
        match,
        sees: seesWhat(w, q.layers, k.layers, match),
        heads: match.heads,
        headDim: match.headDim,
        q: q.layers.map((l) => l.node.id),
        k: k.layers.map((l) => l.node.id),
        v: v.layers.map((l) => l.node.id),
        out: o.layers.map((l) => l.node.id),
        residuals,
      }),
    });
    out.push({ draft, match, residuals });
  }
  return out;
}
