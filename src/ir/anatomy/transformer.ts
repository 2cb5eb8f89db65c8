import type { NodeId, ValueId } from "../graph.ts";
import { throughIdentity } from "../pattern/index.ts";
import type { AttentionDraft } from "./attention.ts";
import type { Draft, Workshop } from "./draft.ts";
import type { FeedForwardDraft } from "./feedforward.ts";
import { residualAfter } from "./residual.ts";
import type {
  AttentionPart,
  FeedForwardPart,
  ResidualJoin,
  SpatialTransformerPart,
  TransformerBlockPart,
} from "./types.ts";
import { forward, ordered } from "./walk.ts";

/** An attention or feed-forward with the streams it joins. */
interface Sublayer {
  readonly draft: Draft<AttentionPart> | Draft<FeedForwardPart>;
  readonly joins: readonly ResidualJoin[];
}

interface Block {
  readonly sublayers: Sublayer[];
  draft: Draft<TransformerBlockPart> | null;
}

/**
 * Groups attentions and feed-forwards along the residual stream into blocks: a block ends where a feed-forward was and
 * the stream goes on. Returns them in order.
 */
export function addTransformerBlocks(
  w: Workshop,
  attentions: readonly AttentionDraft[],
  feedForwards: readonly FeedForwardDraft[],
): void {
  const all: Sublayer[] = [
    ...attentions.map((a) => ({ draft: a.draft, joins: a.residuals })),
    ...feedForwards.map((f) => ({ draft: f.draft, joins: f.residual === null ? [] : [f.residual] })),
  ].filter((s) => s.joins.length > 0);
  all.sort((a, b) => w.flow.at(a.joins[0]!.add) - w.flow.at(b.joins[0]!.add));
  const at = (v: ValueId): ValueId => throughIdentity(w.flow.scope, v);
  const makers = new Map<ValueId, Sublayer>();
  for (const s of all) for (const j of s.joins) makers.set(j.output, s);
  const blockOf = new Map<Sublayer, Block>();
  const blocks: Block[] = [];
  for (const s of all) {
    const before = s.joins.map((j) => makers.get(at(j.stream))).find((m) => m !== undefined);
    // After a feed-forward the next block starts, except for the other stream's feed-forward of a joint block.
    const goesOn = before !== undefined && before.draft.kind === "attention";
    let block = goesOn ? blockOf.get(before) : undefined;
    if (block === undefined) {
      block = { sublayers: [], draft: null };
      blocks.push(block);
    }
    block.sublayers.push(s);
    blockOf.set(s, block);
  }
  for (const block of blocks) addBlock(w, block);
  addSpatialTransformers(
    w,
    blocks.filter((b) => b.draft !== null),
  );
}

/** The norms and modulations that feed a sublayer. */
function before(w: Workshop, s: Sublayer): Draft[] {
  const root = w.root(s.draft.input);
  return w.drafts.filter((d) => (d.kind === "norm" || d.kind === "modulation") && d.output === root);
}

function addBlock(w: Workshop, block: Block): void {
  const { sublayers } = block;
  const feedForwards = sublayers.filter((s) => s.draft.kind === "feed-forward");
  const attentions = sublayers.filter((s) => s.draft.kind === "attention");
  if (feedForwards.length === 0 || attentions.length === 0) return;
  const nodes = new Set<NodeId>();
  for (const s of sublayers) {
    for (const n of s.draft.nodes) nodes.add(n);
    for (const d of before(w, s)) for (const n of d.nodes) nodes.add(n);
    for (const j of s.joins) nodes.add(j.add);
  }
  const [first, last] = [sublayers[0]!, sublayers.at(-1)!];
  block.draft = w.add<TransformerBlockPart>({
    kind: "transformer-block",
    nodes: new Set(ordered(w.flow, nodes)),
    naming: ordered(
      w.flow,
      sublayers.flatMap((s) => [...(s.draft.naming ?? s.draft.nodes)]),
    ),
    input: first.joins[0]!.stream,
    output: last.joins[0]!.output,
    finish: (base, id) => ({
      ...base,
      kind: "transformer-block",
      attentions: attentions.map((s) => id(s.draft as unknown as Draft)),
      feedForwards: feedForwards.map((s) => id(s.draft as unknown as Draft)),
    }),
  });
}

/** Runs of blocks between a projection after a norm and a projection that joins the norm's input again. */
function addSpatialTransformers(w: Workshop, blocks: readonly Block[]): void {
  const next = new Map<ValueId, Block>();
  const ends = new Set<ValueId>();
  for (const b of blocks) {
    next.set(throughIdentity(w.flow.scope, b.draft!.input), b);
    ends.add(b.draft!.output);
  }
  for (const head of blocks) {
    const stream = throughIdentity(w.flow.scope, head.draft!.input);
    if (ends.has(stream)) continue;
    const projIn = w.linears.making(w.root(stream));
    if (projIn === undefined) continue;
    const normed = w.root(projIn.input);
    const norm = w.drafts.find((d) => d.kind === "norm" && d.output === normed);
    if (norm === undefined) continue;
    const run: Block[] = [];
    for (
      let b: Block | undefined = head;
      b !== undefined && run.length < blocks.length;
      b = next.get(b.draft!.output)
    )
      run.push(b);
    const end = run.at(-1)!.draft!.output;
    const reach = forward(w.flow, w.linears, end);
    const projOut = reach.layers.find((l) => {
      const join = residualAfter(w, l.output)?.join;
      return join !== undefined && throughIdentity(w.flow.scope, join.stream) === norm.input;
    });
    const joined = projOut === undefined ? null : residualAfter(w, projOut.output);
    if (projOut === undefined || joined === null) {
      w.misses.push({
        pattern: "spatial-transformer",
        node: projIn.node.id,
        why: "no projection after the blocks joins the input of the norm again",
      });
      continue;
    }
    w.name(projIn, "proj.in");
    w.name(projOut, "proj.out");
    w.add<SpatialTransformerPart>({
      kind: "spatial-transformer",
      nodes: new Set(
        ordered(w.flow, [
          ...norm.nodes,
          ...w.layerNodes(projIn),
          ...run.flatMap((b) => [...b.draft!.nodes]),
          ...w.layerNodes(projOut),
          ...joined.nodes,
        ]),
      ),
      naming: ordered(w.flow, [projIn.node, projOut.node]),
      input: norm.input,
      output: joined.join.output,
      finish: (base, id) => ({
        ...base,
        kind: "spatial-transformer",
        norm: id(norm),
        projIn: projIn.node.id,
        projOut: projOut.node.id,
        blocks: run.map((b) => id(b.draft as unknown as Draft)),
      }),
    });
  }
}
