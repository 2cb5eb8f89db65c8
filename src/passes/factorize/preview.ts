import { elementCount } from "../../ir/dtype.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { flopsOf, obstacle } from "./allocate.ts";
import { type Lengths, lengthsOf } from "./lengths.ts";
import { fullRank, type Group, lowRankWork, originalWork } from "./low-rank.ts";

/** Elements of the factors of a group. */
function factorElements(g: Group, rank: number): number {
  return g.sites.reduce((n, s) => n + rank * s.rows, rank * g.sites[0].columns);
}

function lineOf(g: Group, rank: number, of: string, lengths: Lengths): PreviewLine {
  const { rows, columns, layer } = g.sites[0];
  const share = flopsOf(lowRankWork(g, lengths, rank)) / flopsOf(originalWork(g, lengths));
  const before = g.sites.reduce((n, s) => n + elementCount(s.layer.tensor.dims), 0);
  const count = g.sites.length > 1 ? `${g.sites.length} layers of ` : "";
  return {
    subject: layer.node.name,
    what: `${count}${rows}×${columns}: ${of} ${rank}, ${(100 * share).toFixed(1)} % of the operations, ${4 * before} bytes become ${4 * factorElements(g, rank)}`,
  };
}

/** Largest rank, in steps, whose factors save operations and estimated time; 0 where none does. */
function payingRank(g: Group, lengths: Lengths, step: number, ctx: PreviewContext): number {
  const original = originalWork(g, lengths);
  let best = 0;
  for (let rank = step; rank < fullRank(g); rank += step) {
    if (obstacle(ctx.target, original, lowRankWork(g, lengths, rank)) !== null) break;
    best = rank;
  }
  return best;
}

/** Groups of layers with the rank they would get, or the largest that pays where spectra decide. */
export function previewRanks(
  groups: readonly Group[],
  o: { readonly rankOf: ((g: Group, lengths: Lengths) => number) | null; readonly step: number },
  ctx: PreviewContext,
): PreviewLine[] {
  const lengths = lengthsOf({ ...ctx, oracle: null });
  const assumed = lengths.assumed.length > 0 ? ` (lengths assumed for ${lengths.assumed.join(", ")})` : "";
  const lines = groups.map((g) => {
    if (o.rankOf !== null) return lineOf(g, o.rankOf(g, lengths), "rank", lengths);
    const rank = payingRank(g, lengths, o.step, ctx);
    return rank > 0
      ? lineOf(g, rank, "any rank up to", lengths)
      : { subject: g.sites[0].layer.node.name, what: "no rank pays on the target" };
  });
  const flops = groups.reduce((n, g) => n + flopsOf(originalWork(g, lengths)), 0);
  return [
    { subject: "", what: `${groups.length} groups of layers, ${(flops / 1e6).toFixed(1)} MFLOP${assumed}` },
    ...lines,
  ];
}
