import { nodeCost } from "../../ir/ops/queries.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { assumedText, counted } from "../preview-text.ts";
import { type AttentionSite, type HeadLayer, headBytes, headSides } from "./attention.ts";
import { type Lengths, lengthsOf } from "./lengths.ts";

/** What of an attention is to be narrowed, and to which width. */
export interface NarrowingPlan {
  readonly scores: boolean;
  readonly values: boolean;
  /** Width under the budget; `null` where energies decide. */
  widthOf(width: number): number | null;
}

/** Narrowest heads there are, for the lower end of what energies may decide. */
const NARROWEST = 4;

/** One side of an attention: its width, and what its projections take at full width. */
interface Side {
  readonly what: "scores" | "values";
  readonly width: number;
  readonly rank: number | null;
  readonly bytes: number;
  readonly flops: number;
}

function layerFlops(l: HeadLayer, lengths: Lengths): number {
  const { rows, columns } = headSides(l);
  return 2 * ((lengths.elements(l.layer.node.outputs[0]!) ?? rows) / rows) * rows * columns;
}

function sidesOf(s: AttentionSite, plan: NarrowingPlan, lengths: Lengths): Side[] {
  const side = (what: Side["what"], width: number, layers: readonly HeadLayer[]): Side => ({
    what,
    width,
    rank: plan.widthOf(width),
    bytes: layers.reduce((n, l) => n + headBytes(l), 0),
    flops: layers.reduce((n, l) => n + layerFlops(l, lengths), 0),
  });
  return [
    ...(plan.scores ? [side("scores", s.width, [s.q, s.k])] : []),
    ...(plan.values && typeof s.out !== "string" ? [side("values", s.valueWidth, [s.v, s.out])] : []),
  ];
}

function sideText({ what, width, rank, bytes, flops }: Side): string {
  const at = (w: number): string =>
    `${Math.round((bytes * w) / width)} bytes and ${((flops * w) / width / 1e6).toFixed(1)} MFLOP of projections`;
  const whole = `${what} of width ${width}, ${at(width)}`;
  if (rank === null)
    return `${whole}; ${NARROWEST} to ${width} by their energy, from ${at(Math.min(NARROWEST, width))}`;
  return rank >= width ? `${whole}, stay` : `${whole}, become ${rank} with ${at(rank)}`;
}

/** Attentions with the width their heads would get, or what energies would decide between. */
export function previewAttention(
  sites: readonly AttentionSite[],
  plan: NarrowingPlan,
  ctx: PreviewContext,
): PreviewLine[] {
  const lengths = lengthsOf({ ...ctx, oracle: null });
  const shapes = ctx.shapes();
  const all = sites.map((s) => ({ s, sides: sidesOf(s, plan, lengths) }));
  const sum = (of: (side: Side) => number): number =>
    all.reduce((n, { sides }) => n + sides.reduce((m, side) => m + of(side), 0), 0);
  const attended = sites.reduce((n, s) => n + (nodeCost(s.node, shapes, lengths.bindings)?.flops ?? 0), 0);
  const decided = all.every(({ sides }) => sides.every((side) => side.rank !== null));
  const scaled = (of: "bytes" | "flops") =>
    sum((x) => (x[of] * (x.rank ?? Math.min(NARROWEST, x.width))) / x.width);
  return [
    {
      subject: "",
      what:
        `${counted(sites.length, "attention")}, ${(attended / 1e6).toFixed(1)} MFLOP between their heads; projections: ` +
        `${sum((x) => x.bytes)} bytes become ${decided ? "" : "at least "}${Math.round(scaled("bytes"))}, ` +
        `${(sum((x) => x.flops) / 1e6).toFixed(1)} MFLOP ${(scaled("flops") / 1e6).toFixed(1)}${assumedText(lengths.assumed, lengths.bindings)}`,
    },
    ...all.map(({ s, sides }) => ({
      subject: s.node.name,
      what:
        `${s.heads} heads` +
        sides.map((x) => `; ${sideText(x)}`).join("") +
        (plan.values && typeof s.out === "string" ? `; values stay: ${s.out}` : ""),
    })),
  ];
}
