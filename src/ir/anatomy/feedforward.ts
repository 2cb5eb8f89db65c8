import type { NodeId, ValueId } from "../graph.ts";
import { any, made, matchValue, oneOf, op, type Pattern } from "../pattern/index.ts";
import { type Draft, MADE, type Workshop } from "./draft.ts";
import type { Linear } from "./linear.ts";
import { residualAfter } from "./residual.ts";
import type { FeedForwardPart, ResidualJoin } from "./types.ts";
import { ordered } from "./walk.ts";

/** A feed-forward with what later steps need before part numbers exist. */
export interface FeedForwardDraft {
  readonly draft: Draft<FeedForwardPart>;
  readonly residual: ResidualJoin | null;
}

/** What the last layer of a feed-forward reads. `in` is the first layer, `gate` a second one beside it. */
function hiddenPattern(w: Workshop): Pattern {
  const fromStream = (v: ValueId): string | null =>
    w.isConditioning(v) ? "it depends on the conditioning alone" : null;
  const x = any("x", fromStream);
  const layer = (as: string): Pattern => made([MADE.matrix, MADE.pointwise], x, as);
  const merged = layer("in");
  const half = oneOf(
    op("Slice", [merged], { rest: true }),
    op("Split", [merged], { rest: true, output: 0 }),
    op("Split", [merged], { rest: true, output: 1 }),
  );
  const act = (inner: Pattern): Pattern => made(MADE.activation, inner, "act");
  return oneOf(
    act(layer("in")),
    op("Mul", [half, act(half)], { as: "gated" }),
    op("Mul", [layer("in"), act(layer("gate"))], { as: "gated" }),
    op("com.microsoft:BiasSplitGelu", [merged], { as: "gated", rest: true }),
  );
}

/** Finds feed-forwards: two layers around a non-linearity, plain or gated, as transformers have them. */
export function addFeedForwards(w: Workshop): FeedForwardDraft[] {
  const pattern = hiddenPattern(w);
  const out: FeedForwardDraft[] = [];
  for (const last of w.linears.list) {
    if (last.kernel.some((k) => k !== 1) || w.isConditioning(last.input)) continue;
    const m = matchValue(w.scope, last.input, pattern);
    if (!m.ok) continue;
    const layer = (name: string): Linear | undefined => {
      const part = m.part(name);
      return part === undefined ? undefined : w.layerOf.get(part);
    };
    const [inner, gate] = [layer("in"), layer("gate")];
    if (inner === undefined) continue;
    const actPart = m.part("act");
    const act = actPart === undefined ? undefined : w.draftOf.get(actPart);
    const activation =
      w.structures.activations.find((a) => a.output === actPart?.output)?.kind ?? ("gelu" as const);
    const gated = m.node("gated") !== undefined;
    const joined = residualAfter(w, last.output);
    const layers = [inner, gate, last];
    const nodes = new Set<NodeId>(
      ordered(w.flow, [
        ...m.nodes,
        ...layers.flatMap((l) => w.layerNodes(l)),
        ...(act?.nodes ?? []),
        ...(joined?.nodes.slice(0, -1) ?? []),
      ]),
    );
    w.name(inner, "ff.in");
    w.name(gate, "ff.gate");
    w.name(last, "ff.out");
    const first = [inner, gate].filter((l) => l !== undefined).map((l) => l.node.id);
    const draft = w.add<FeedForwardPart>({
      kind: "feed-forward",
      nodes,
      naming: ordered(w.flow, [...first, last.node]),
      input: m.value("x"),
      output: joined?.join.output ?? last.output,
      finish: (base) => ({
        ...base,
        kind: "feed-forward",
        activation,
        gated,
        in: first,
        out: last.node.id,
        residual: joined?.join ?? null,
      }),
    });
    out.push({ draft, residual: joined?.join ?? null });
  }
  return out;
}
