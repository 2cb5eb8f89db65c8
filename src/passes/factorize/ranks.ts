import type { ProductWork } from "../../targets/cost/product.ts";
import type { PassContext } from "../pass.ts";
import { allocate, type Candidate } from "./allocate.ts";
import type { Lengths } from "./lengths.ts";
import { outputNoise, type Probe } from "./measure.ts";
import type { FactorizeOptions } from "./options.ts";

/** Layers that are factored together, as allocation sees them. */
export interface Rankable<Ranks> {
  /** Name of the first layer, for reports. */
  readonly name: string;
  readonly original: readonly ProductWork[];
  /** Ranks that pay, cheapest first, with the relative error each leaves. */
  candidates(): Promise<readonly Candidate<Ranks>[]>;
  /** The layers at some ranks, ready to be measured. */
  probe(ranks: Ranks): Probe;
}

/** How much a unit of relative error of each group matters: measured at its middle candidate, or the same for all. */
async function harms<Ranks>(
  groups: readonly Rankable<Ranks>[],
  found: readonly (readonly Candidate<Ranks>[])[],
  o: FactorizeOptions,
  ctx: PassContext,
): Promise<number[]> {
  if (ctx.oracle === null || !o.measure) {
    if (o.measure)
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "sensitivity",
        why: "the model cannot be sampled, so that every layer counts by the relative error of its own output",
        from: "network output",
        to: "layer output",
      });
    return groups.map(() => 1);
  }
  const out = groups.map(() => 0);
  const measured = [...groups.keys()].flatMap((i) => {
    const at = found[i]![found[i]!.length >> 1];
    return at === undefined || at.error === 0 ? [] : [{ i, at }];
  });
  const noise = await outputNoise(
    ctx.oracle,
    ctx,
    measured.map(({ i, at }) => groups[i]!.probe(at.ranks)),
  );
  for (const [k, { i, at }] of measured.entries()) out[i] = noise[k]! / at.error;
  return out;
}

/** Says which groups stay as they are, one line a reason. */
function decideLeft(
  left: Readonly<Record<"no-gain" | "allocation", readonly string[]>>,
  ctx: Pick<PassContext, "decide">,
): void {
  const why = {
    "no-gain": "at no rank do the factors take fewer operations and, by the target's cost model, less time",
    allocation: "factors of other layers cost the output less",
  };
  for (const rule of ["no-gain", "allocation"] as const) {
    const names = left[rule];
    if (names.length > 0)
      ctx.decide({
        node: names.length === 1 ? names[0]! : "",
        kind: "skipped",
        rule,
        why: why[rule],
        count: names.length,
      });
  }
}

/** The ranks of every group under a share of all operations; `null` leaves it as it is. */
export async function allocated<Ranks>(
  groups: readonly Rankable<Ranks>[],
  keep: number,
  o: FactorizeOptions,
  ctx: PassContext,
): Promise<(Ranks | null)[]> {
  const found = await Promise.all(groups.map((g) => g.candidates()));
  const harm = await harms(groups, found, o, ctx);
  const classes = groups.map(({ original }, i) => ({ original, candidates: found[i]!, harm: harm[i]! }));
  const { picks, kept, reached } = allocate(classes, keep);
  ctx.decide({
    node: "",
    kind: reached ? "applied" : "downgraded",
    rule: "allocation",
    why: reached
      ? `${(100 * kept).toFixed(1)} % of the operations of ${groups.length} groups of layers are left`
      : `the smallest forms that pay leave ${(100 * kept).toFixed(1)} % of the operations, more than asked for`,
  });
  const stay = [...groups.keys()].filter((i) => picks[i] === null);
  const named = (paying: boolean): string[] =>
    stay.filter((i) => found[i]!.length > 0 === paying).map((i) => groups[i]!.name);
  decideLeft({ "no-gain": named(false), allocation: named(true) }, ctx);
  return picks.map((p, i) => (p === null ? null : found[i]![p]!.ranks));
}

/** Says which layers lack the statistics that were asked for. */
export function decideWeighting(
  without: readonly string[],
  o: Pick<FactorizeOptions, "weighting">,
  ctx: Pick<PassContext, "statistics" | "decide">,
): void {
  if (o.weighting === "none" || without.length === 0) return;
  ctx.decide({
    node: without.length === 1 ? without[0]! : "",
    kind: "downgraded",
    rule: "weighting",
    why:
      ctx.statistics === null
        ? "the model could not be sampled, so nothing is known of its layers' inputs"
        : "the layers' inputs are too many, or were not observed",
    from: "activations",
    to: "none",
    count: without.length,
  });
}

/** Says which open lengths layers were compared at. */
export function decideLengths({ assumed }: Lengths, ctx: Pick<PassContext, "decide">): void {
  if (assumed.length === 0) return;
  ctx.decide({
    node: "",
    kind: "applied",
    rule: "assumed-lengths",
    why: `the model leaves ${assumed.join(", ")} open: layers are compared at images of 64×64, 77 tokens and a batch of 2`,
  });
}
