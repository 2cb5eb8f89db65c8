import type { Dense } from "../../ir/evaluator.ts";
import { type Graph, intsAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";
import { type TuckerRanks, tuckerProduct } from "../../numeric/factorize/tucker.ts";
import { asF32, encodeFloat } from "../../runtime/kernels/elements.ts";
import type { FactorStatistics } from "../../runtime/kernels/factor-inputs.ts";
import { type TuckerTensors, tuckerTensors } from "../../runtime/kernels/factor-tucker.ts";
import type { ProductWork } from "../../targets/cost/product.ts";
import { correctBias, layerBias } from "../quantize/layer-bias.ts";
import type { Lengths } from "./lengths.ts";
import { DAMP } from "./low-rank.ts";
import type { Site } from "./sites.ts";

/** A convolution of several taps with what is known of its input. */
export interface Convolution {
  readonly site: Site;
  readonly statistics: FactorStatistics | null;
}

/** Channels, outputs and taps of a convolution. */
export function sizesOf({ site }: Convolution): { channels: number; outputs: number; taps: number } {
  const [outputs, channels, height, width] = site.layer.tensor.dims as [number, number, number, number];
  return { channels, outputs, taps: height * width };
}

/** Elements of the input and the output; of one position where shapes are unknown. */
function extents(c: Convolution, lengths: Lengths): { input: number; positions: number; places: number } {
  const { channels, outputs } = sizesOf(c);
  const input = lengths.elements(c.site.input) ?? channels;
  const out = lengths.elements(c.site.layer.node.outputs[0]!) ?? outputs;
  return { input, positions: out / outputs, places: input / channels };
}

/** Work of a convolution as it is. */
export function convolutionWork(c: Convolution, lengths: Lengths): ProductWork[] {
  const { channels, outputs, taps } = sizesOf(c);
  const { input, positions } = extents(c, lengths);
  const weights = outputs * channels * taps;
  return [
    {
      flops: 2 * positions * weights,
      bytes: 4 * (input + weights + positions * outputs),
      weights: 4 * weights,
    },
  ];
}

/** Work of its three factors. */
export function tuckerWork(c: Convolution, lengths: Lengths, r: TuckerRanks): ProductWork[] {
  const { channels, outputs, taps } = sizesOf(c);
  const { input, positions, places } = extents(c, lengths);
  const product = (at: number, weights: number, moved: number): ProductWork => ({
    flops: 2 * at * weights,
    bytes: 4 * (weights + moved),
    weights: 4 * weights,
  });
  return [
    product(places, channels * r.input, input + places * r.input),
    product(positions, r.input * r.output * taps, places * r.input + positions * r.output),
    product(positions, r.output * outputs, positions * (r.output + outputs)),
  ];
}

/** The factors of a convolution. */
export function tuckerOf({ site, statistics }: Convolution, ranks: TuckerRanks): TuckerTensors {
  return tuckerTensors(site.layer.tensor, ranks, { damp: DAMP, statistics });
}

/** The weight that factors stand for, in its own type and shape. */
export async function tuckerWeight(c: Convolution, t: TuckerTensors, reader: TensorReader): Promise<Dense> {
  const read = async (x: Tensor): Promise<Float64Array> =>
    Float64Array.from(asF32({ dtype: x.dtype, dims: x.dims, bytes: await reader.read(x) }));
  const { dtype, dims } = c.site.layer.tensor;
  const { channels, taps } = sizesOf(c);
  const ranks = { input: t.input.dims[0]!, output: t.core.dims[0]! };
  const [input, core, output] = [await read(t.input), await read(t.core), await read(t.output)];
  const w = tuckerProduct({ ranks, input, core, output }, channels, taps);
  return { dtype, dims, bytes: encodeFloat(dtype, Float32Array.from(w)) };
}

/** Writes a convolution as its factors; returns the bytes of their weights. */
export function writeTucker(graph: Graph, patch: PatchBuilder, c: Convolution, t: TuckerTensors): number {
  const { layer, input } = c.site;
  const { node, role, value } = layer;
  const name = node.name || `w${value}`;
  const conv = (
    part: string,
    x: ValueId,
    weight: Tensor,
    attrs: Readonly<Record<string, ReturnType<typeof intsAttr>>>,
  ) =>
    patch.node({
      op: "Conv",
      name: `${name}/${part}`,
      inputs: [x, patch.constant(weight, `${name}/${part}.weight`)],
      attrs,
    })[0];
  const point = { kernel_shape: intsAttr([1, 1]) };
  const down = conv("tucker.down", input, t.input, point);
  const core = patch.node({
    op: "Conv",
    name: `${name}/tucker.core`,
    inputs: [down, patch.constant(t.core, `${name}/tucker.core.weight`)],
    attrs: Object.fromEntries(node.attrs),
  })[0];
  const up = patch.constant(t.output, `${name}/tucker.up.weight`);
  const inputs = node.inputs.map((id, k) => (k === role.activation ? core : k === role.input ? up : id));
  patch.replace(node, { inputs, attrs: new Map(Object.entries(point)) });
  if (graph.constant(value) !== null) patch.drop(value);
  const bias = layerBias(graph, layer);
  if (t.correction !== null && bias !== null)
    correctBias(patch, bias, t.correction, `${name}/tucker.up.bias`);
  return tensorBytes(t.input) + tensorBytes(t.core) + tensorBytes(t.output);
}
