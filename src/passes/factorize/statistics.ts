import type { GramRequest, Statistics } from "../../calibrate/statistics/types.ts";
import type { Graph } from "../../ir/graph.ts";
import type { FactorStatistics } from "../../runtime/kernels/factor-inputs.ts";
import type { PassContext } from "../pass.ts";
import { gramRequest, inputsOf } from "../quantize/grams.ts";
import { layerBias } from "../quantize/layer-bias.ts";
import type { Site } from "./sites.ts";

/** Channels of a convolution beyond which no Gram matrix is asked for. */
const MOST_CHANNELS = 4096;

/** The covariance of a convolution's channels, which serves all taps alike. */
function channelRequest(graph: Graph, site: Site): GramRequest | null {
  const channels = site.layer.tensor.dims[1]!;
  if (channels > MOST_CHANNELS) return null;
  return { layer: site.layer.node.name, value: graph.value(site.input).name, axis: 1, unfold: null };
}

/** What to ask for to weigh errors of a layer; large convolutions are weighed by channel. */
export function inputRequest(graph: Graph, site: Site, ctx: Pick<PassContext, "shapes">): GramRequest | null {
  const exact = gramRequest(graph, ctx.shapes(), site.layer);
  return exact ?? (site.form === "conv" ? channelRequest(graph, site) : null);
}

/** Statistics of layers that share an input; `null` when it was not observed. `mean` asks for corrections of biases. */
export function statisticsOf(
  graph: Graph,
  group: readonly Site[],
  statistics: Statistics | null,
): FactorStatistics | null {
  const [site] = group;
  if (statistics === null || site === undefined) return null;
  const found = statistics.gram(site.layer.node.name);
  const sizes = site.form === "conv" ? [site.columns, site.layer.tensor.dims[1]!] : [site.columns];
  if (found === undefined || !sizes.includes(found.size)) return null;
  const inputs = inputsOf([site.layer], found.size, statistics);
  if (inputs === null) return null;
  // A mean per channel leaves out what padding does, so that it corrects nothing exactly.
  const corrected = found.size === site.columns && group.every((s) => layerBias(graph, s.layer) !== null);
  return { gram: inputs.gram, mean: corrected ? inputs.mean : null };
}
