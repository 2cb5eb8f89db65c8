import type { Graph, ValueId } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor } from "../../../ir/tensor.ts";
import { quantizeScaled } from "../../../runtime/kernels/quantize-scaled.ts";
import { sliceTensor } from "../../../runtime/kernels/slice.ts";
import {
  fromChannels,
  type IntegerConv,
  integerConv,
  integerMatMul,
  type QuantizedActivation,
  u8Constant,
} from "../../../targets/lower/integer.ts";
import type { Clock } from "./clock.ts";
import { withFirst } from "./first-token.ts";
import { type Interleave, interleaveOf } from "./interleave.ts";
import { flatFromChannels, interleaved, moved, quantizeBefore, standsAlone } from "./layout.ts";
import type { LayerPlan, SitePlan } from "./plan.ts";
import { splitAfter } from "./segments.ts";
import type { StaticLayer } from "./sites.ts";

/** Zero point the convolution's own result is written around; channels get theirs in the DequantizeLinear behind. */
const OUTPUT_ZERO = 128;

/** Where sites are written. */
export interface Writing {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly patch: PatchBuilder;
  readonly clock: Clock;
}

const at = (values: ArrayLike<number>, n: number): number => values[values.length === 1 ? 0 : n]!;

function weightOf({ layer, fit }: LayerPlan, base: Float64Array) {
  return quantizeScaled(layer.weight, {
    outAxis: layer.outAxis,
    inAxis: layer.inAxis,
    factor: f32Tensor(base),
    scale: f32Tensor(fit.scale),
  });
}

/** A linear layer; one product per part where its result is only split evenly and has all tokens. */
function writeMatMul(
  w: Writing,
  plan: LayerPlan,
  o: { readonly base: Float64Array; readonly input: QuantizedActivation; readonly site: SitePlan["site"] },
): void {
  const { graph, shapes, patch } = w;
  const { base, input, site } = o;
  const { layer, fit, bias } = plan;
  const weight = weightOf(plan, base);
  const split = site.rest ? null : splitAfter(graph, shapes, layer.output);
  const parts = split?.parts ?? 1;
  const size = layer.outputs / parts;
  for (let p = 0; p < parts; p++) {
    const [start, end] = [p * size, (p + 1) * size];
    const out = integerMatMul(patch, {
      input,
      weight: parts === 1 ? weight : sliceTensor(weight, { axis: 1, start, end }),
      weightScale: f32Tensor(fit.scale.slice(start, end)),
      bias: bias === null ? null : f32Tensor(bias.slice(start, end)),
      node: parts === 1 ? layer.node.name : `${layer.node.name}/${p}`,
      name: `w${layer.output}.${p}`,
    });
    const first = {
      x: site.value,
      weight: { data: weight, scale: fit.scale, zero: 0 },
      bias: plan.firstBias,
    };
    const whole = site.rest ? withFirst(patch, out, { ...first, name: `t${layer.output}` }) : out;
    patch.redirect(split === null ? layer.output : split.node.outputs[p]!, whole);
  }
  if (split !== null) patch.remove(split.node.id);
  if (layer.biasNode !== null) patch.remove(layer.biasNode.id);
}

type ConvInput = QuantizedActivation & Pick<SitePlan["input"], "profile"> & { readonly unit: number };

/** The convolution and what turns its result back. */
function convParts(w: Writing, plan: LayerPlan, base: Float64Array, input: ConvInput) {
  const { patch, clock } = w;
  const { layer, fit, bias } = plan;
  const y = plan.output!;
  const scales = Float64Array.from({ length: layer.outputs }, (_, n) => at(y.scale, n));
  const zeros = Uint8Array.from(scales, (_, n) => at(y.zero, n));
  const beta = Float64Array.from(scales, (_, n) => (bias?.[n] ?? 0) / (input.unit * fit.scale[n]!));
  const gamma = scales.map((s, n) => ((zeros[n]! - OUTPUT_ZERO) * s) / (input.unit * fit.scale[n]!));
  const name = `w${layer.output}`;
  const conv: IntegerConv = {
    input,
    weight: weightOf(plan, base),
    weightScale: f32Tensor(fit.scale.map((s, n) => s / scales[n]!)),
    bias: clock.bias(beta, gamma, { input: input.profile, output: y.profile }),
    outputFactor: clock.scale([1], y.profile),
    outputZero: u8Constant(patch, [OUTPUT_ZERO], false),
    name,
  };
  const back = { scale: clock.scale(scales, y.profile), zeros: u8Constant(patch, zeros, true), name };
  return { conv, back };
}

function writeConv(w: Writing, plan: LayerPlan, base: Float64Array, input: ConvInput): void {
  const { layer } = plan;
  const { conv, back } = convParts(w, plan, base, input);
  const q = integerConv(w.patch, layer.node, conv);
  const out = standsAlone(w, layer) ? fromChannels(w.patch, q, back) : flatFromChannels(w, q, back);
  w.patch.redirect(layer.output, out);
}

/** Four phases of an image: put together as integers, where moving them costs a quarter. */
function writePhases(w: Writing, plan: SitePlan, together: Interleave, input: ConvInput): void {
  const { patch } = w;
  const of = (l: StaticLayer): LayerPlan => plan.layers.find((p) => p.layer === l)!;
  const last = { ...input, value: moved(patch, input.value, [0, 2, 3, 1], `${plan.site.name}/last`) };
  const parts = together.layers.map((l) => convParts(w, of(l), plan.base, last));
  const phases = together.layers.map((l, i) =>
    integerConv(patch, l.node, { ...parts[i]!.conv, channelsLast: true }),
  );
  const image = interleaved(w, phases as [ValueId, ValueId, ValueId, ValueId], together, plan.site.value);
  const out = patch.node({
    op: "Reshape",
    name: together.depthToSpace.name,
    inputs: [fromChannels(patch, image.flat, parts[0]!.back), image.shape],
  })[0];
  patch.redirect(together.depthToSpace.outputs[0]!, out);
  patch.remove(together.depthToSpace.id).remove(together.concat.id);
}

/** Quantizes the activation of a site once and replaces its layers by integer ones. */
export function writeSite(w: Writing, plan: SitePlan): void {
  const { patch, clock } = w;
  const { site, input: q, base } = plan;
  const perChannel = q.scale.length > 1;
  plan.fold?.apply(
    patch,
    base.map((s) => 1 / s),
  );
  const zero = u8Constant(patch, [q.zero[0]!], false);
  const scale = clock.scale(perChannel ? [1] : q.scale, q.profile);
  const vector = perChannel && plan.fold === null;
  const value = quantizeBefore(w, plan, {
    scale: vector ? clock.scale(q.scale, q.profile) : scale,
    zero: vector ? u8Constant(patch, new Uint8Array(site.channels).fill(q.zero[0]!), true) : zero,
  });
  // Scales per channel are in the weights: what the kernel is told is the factor of the timestep alone.
  const input = { value, scale, zero, profile: q.profile, unit: perChannel ? 1 : q.scale[0]! };
  const together = interleaveOf(w.graph, site);
  if (together !== null && plan.layers.length === 4) writePhases(w, plan, together, input);
  for (const layer of plan.layers) {
    if (site.kind === "matmul") writeMatMul(w, layer, { base, input, site });
    else if (together === null) writeConv(w, layer, base, input);
    patch.remove(layer.layer.node.id);
  }
}
