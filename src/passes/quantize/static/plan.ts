import type { Statistics, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import type { Graph } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { Tensor, TensorReader } from "../../../ir/tensor.ts";
import type { SaturationRule } from "../../../numeric/quantize/saturation.ts";
import { asF32 } from "../../../runtime/kernels/elements.ts";
import type { IntegerSupport } from "../../../targets/target.ts";
import type { RestStatistics } from "./first-token.ts";
import { type Fold, findFold } from "./fold.ts";
import { type Granularity, type GridSettings, type Quantizer, quantizerOf } from "./grids.ts";
import { interleaveOf, unionOf } from "./interleave.ts";
import { channelSources } from "./segments.ts";
import type { Site, StaticLayer } from "./sites.ts";
import { chooseSmoothing, type Smoothing } from "./smooth.ts";
import { fitBlocks, fitWeight, inputEnergy, oneScale, type WeightFit } from "./weights.ts";

/** How finely the inputs and outputs of convolutions are gridded. */
export type Activations = "tensor" | "source" | "channel";

/** What plans depend on besides the statistics. */
export interface PlanSettings extends GridSettings {
  readonly saturation: SaturationRule;
  readonly activations: Activations;
  readonly smooth: Smoothing;
  /** Inputs of convolutions have one scale, so that channels are evened out where a norm absorbs it. */
  readonly foldConv: boolean;
  readonly correctBias: boolean;
  readonly weightScales: IntegerSupport["weightScales"];
  /** Inputs to a block of 4-bit weights in linear layers they divide; `null`: 8 bits. */
  readonly block: number | null;
}

/** One layer with its numbers. */
export interface LayerPlan {
  readonly layer: StaticLayer;
  readonly fit: WeightFit;
  /** Inputs to a block of 4-bit weights; `null` where they have 8 bits. */
  readonly block: number | null;
  /** Bias in units of the output, the mean of the weights' rounding error taken out; `null` for none. */
  readonly bias: Float64Array | null;
  /**
   * Bias of the first token where that stays float, what rounding the weights does to the calibrated token taken out:
   * where every text starts with it, its result is exact. `null` for none.
   */
  readonly firstBias: Float64Array | null;
  /** Grid of the result; `null` where it stays float. */
  readonly output: Quantizer | null;
}

/** One activation with its grid, and the layers that read it. Plain numbers: a site can be written into any copy. */
export interface SitePlan {
  readonly site: Site;
  readonly input: Quantizer;
  /** Scale per channel that is written into the weights; ones where the tensor has one scale. */
  readonly base: Float64Array;
  readonly fold: Fold | null;
  /** Share of the channels' differences that the fold moves into the weights; `null` without one. */
  readonly share: number | null;
  readonly layers: readonly LayerPlan[];
}

/** What planning may ask. */
export interface PlanContext {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly reader: TensorReader;
  readonly statistics: Statistics;
  /** Of sites without the first token; `null` where there are none. */
  readonly rest: RestStatistics | null;
}

/** The statistics that describe a site as it is quantized; `null` for none. */
export function statisticsOf(
  { rest }: Site,
  ctx: Pick<PlanContext, "statistics" | "rest">,
): Statistics | null {
  return rest ? ctx.rest : ctx.statistics;
}

async function floatsOf(reader: TensorReader, t: Tensor): Promise<Float32Array> {
  return asF32({ dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) });
}

/** Inputs to a block of a site's weights; `null` for 8 bits. The token that stays float reads weights of 8. */
function blockOf({ kind, rest, channels }: Site, { block }: PlanSettings): number | null {
  return block !== null && kind === "matmul" && !rest && channels % block === 0 ? block : null;
}

/** Grids and scales of one site; `null` when statistics of it are missing. */
export async function planSite(
  site: Site,
  settings: PlanSettings,
  ctx: PlanContext,
): Promise<SitePlan | null> {
  const { graph, shapes, reader } = ctx;
  const statistics = statisticsOf(site, ctx);
  const x = statistics?.value(site.name);
  if (statistics === null || x === undefined) return null;
  const weights: Float32Array[] = [];
  const importance = new Float64Array(site.channels);
  for (const l of site.layers) {
    const w = await floatsOf(reader, l.weight);
    weights.push(w);
    inputEnergy(w, l).forEach((e, c) => {
      importance[c] = importance[c]! + e;
    });
  }
  const conv = site.kind === "conv";
  const block = blockOf(site, settings);
  const folds = settings.smooth !== "off" && !site.rest && (!conv || settings.foldConv);
  const place = folds ? findFold(graph, shapes, site) : null;
  const fine: Granularity = settings.activations === "tensor" ? "tensor" : "common";
  const granularity = conv ? fine : "tensor";
  const sources =
    conv && settings.activations === "source"
      ? channelSources(graph, shapes, site.value, site.channels)
      : null;
  const gridded = { statistics, value: x, importance, granularity, sources } as const;
  const plain = quantizerOf(gridded, settings);
  const smoothed =
    settings.smooth === "off" || place === null
      ? null
      : chooseSmoothing(
          {
            channels: quantizerOf({ ...gridded, granularity: "common" }, settings),
            tensor: plain,
            statistics: x,
            layers: site.layers.map((layer, i) => ({ layer, weight: weights[i]! })),
            perChannel: block !== null || !oneScale(site.kind, settings.weightScales),
          },
          settings.smooth,
          { ...settings, narrow: block !== null },
        );
  const input = smoothed?.input ?? plain;
  const share = smoothed?.share ?? null;
  const fold = share === null ? null : place;
  const base = input.scale.length === 1 ? new Float64Array(site.channels).fill(1) : input.scale;
  const mean = input.mean.map((m, c) => m / base[c]!);
  const result = (l: StaticLayer): ValueStatistics | undefined =>
    statistics.value(graph.value(l.output).name);
  // Phases of one image have one grid, so that the image is put together before it is float again.
  const phases = interleaveOf(graph, site)?.layers.map(result) ?? [];
  const image = phases.length > 0 && phases.every((v) => v !== undefined) ? unionOf(phases) : null;
  const layers: LayerPlan[] = [];
  for (const [i, layer] of site.layers.entries()) {
    const shared = oneScale(layer.kind, settings.weightScales);
    const fitting = {
      factor: base,
      rule: settings.saturation,
      shared,
      powerOfTwo: settings.powerOfTwo === true,
      float8: settings.float8 === true,
    };
    const fit =
      block === null
        ? fitWeight(weights[i]!, layer, { ...fitting, mean })
        : fitBlocks(weights[i]!, layer, { factor: base, mean, block });
    let output: Quantizer | null = null;
    if (conv) {
      const y = image ?? result(layer);
      if (y === undefined) return null;
      const even = new Float64Array(layer.outputs).fill(1);
      const per: Granularity = settings.activations === "channel" ? "channel" : "tensor";
      output = quantizerOf(
        { statistics, value: y, importance: even, granularity: per, sources: null },
        settings,
      );
    }
    const given = layer.bias === null ? null : await floatsOf(reader, layer.bias);
    const first = site.rest ? ctx.rest?.first(site.name) : undefined;
    const firstBias =
      first === undefined
        ? null
        : fitWeight(weights[i]!, layer, { ...fitting, mean: first }).shift.map(
            (s, n) => (given?.[n] ?? 0) - s,
          );
    const bias =
      given === null && !settings.correctBias
        ? null
        : Float64Array.from(fit.shift, (s, n) => (given?.[n] ?? 0) - (settings.correctBias ? s : 0));
    layers.push({ layer, fit, block, bias, firstBias, output });
  }
  return { site, input, base, fold, share, layers };
}
