import type { ValueStatistics } from "../../../calibrate/statistics/types.ts";
import type { ValueId } from "../../../ir/graph.ts";
import { type GridSettings, type Quantizer, quantizerOf } from "./grids.ts";
import { type MovingRules, onOneGrid } from "./one-grid.ts";
import type { TimeForm } from "./options.ts";
import { type LayerPlan, type PlanContext, type SitePlan, statisticsOf } from "./plan.ts";

/** What the grids of results depend on. */
export interface ResultSettings extends GridSettings {
  readonly time: TimeForm;
  /** How data is moved on integers; `null`: each value has a grid of its own. */
  readonly moving: Omit<MovingRules, "graph"> | null;
}

/**
 * True where the bias is added in float behind the quantized result: a matrix product has no bias of its own, and a
 * bias on a grid that moves within a graph has no constant scale, and one beside blocks none at all.
 */
export function biasBehind(layer: LayerPlan, input: Quantizer, time: TimeForm): boolean {
  return (
    (input.profile !== null && time !== "graphs") || layer.layer.node.op === "MatMul" || layer.block !== null
  );
}

/** Statistics of (y − offset) / factor, one offset per channel and one factor per call. */
function shifted(
  y: ValueStatistics,
  offset: ArrayLike<number> | null,
  factor: ArrayLike<number> | null,
): ValueStatistics {
  const move = (v: number, call: number, channel: number): number =>
    (v - (offset?.[channel] ?? 0)) / (factor?.[call] ?? 1);
  const { channels, rows } = y;
  const each = (values: Float64Array): Float64Array =>
    values.map((v, i) => move(v, Math.floor(i / channels), i % channels));
  return {
    ...y,
    min: each(y.min),
    max: each(y.max),
    mean: each(y.mean),
    sample: y.sample.map((v, i) => move(v, Math.floor(i / (rows * channels)), i % channels)),
  };
}

/**
 * Grids of what layers make, for spellings that quantize results: one scale per tensor, of the values as they leave the
 * layer (without a bias that is added behind it, and divided by the input's factor where that is multiplied back behind
 * it). A result that is a site itself takes that site's grid, so that quantizing it twice changes nothing, and where the
 * target moves data on integers it shares one with the sites it becomes by being moved. Sites whose results have no
 * statistics are left out.
 */
export function withResults(
  plans: readonly SitePlan[],
  settings: ResultSettings,
  ctx: Pick<PlanContext, "graph" | "statistics" | "rest">,
): SitePlan[] {
  const inputs = new Map<ValueId, Quantizer>(plans.map((p) => [p.site.value, p.input]));
  const moves = settings.time === "gathered" || settings.time === "graphs";
  const how: GridSettings = moves ? settings : { ...settings, timeTolerance: Number.POSITIVE_INFINITY };
  const grid = (plan: SitePlan, l: LayerPlan): Quantizer | null => {
    const behind = biasBehind(l, plan.input, settings.time);
    const factor = settings.time === "normalised" ? plan.input.profile : null;
    const next = inputs.get(l.layer.output);
    const same = !(behind && l.bias !== null) && factor === null && next?.scale.length === 1;
    if (same && (moves || next.profile === null)) return next;
    const statistics = statisticsOf(plan.site, ctx);
    const y = statistics?.value(ctx.graph.value(l.layer.output).name);
    if (statistics === null || y === undefined) return null;
    const value = shifted(y, behind ? l.bias : null, factor);
    return quantizerOf({ statistics, value, importance: [1], granularity: "tensor", sources: null }, how);
  };
  const whole = plans.flatMap((plan) => {
    const layers = plan.layers.map((l) => ({ ...l, output: grid(plan, l) }));
    return layers.every((l) => l.output !== null) ? [{ ...plan, layers }] : [];
  });
  const { moving, time } = settings;
  // A factor in front of a layer and behind it is no grid of the value itself.
  if (moving === null || time === "normalised") return whole;
  const { graph, statistics } = ctx;
  const direct = (plan: SitePlan, l: LayerPlan): boolean =>
    !plan.site.rest && !(biasBehind(l, plan.input, time) && l.bias !== null);
  return onOneGrid(whole, { rules: { ...moving, graph }, settings: how, statistics, direct });
}
