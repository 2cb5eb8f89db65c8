import { type Attr, intAttr, type ValueId } from "../../../ir/graph.ts";
import { f32Tensor } from "../../../ir/tensor.ts";
import { powerOfTwoAbove } from "../../../numeric/quantize/activation.ts";
import { quantizeScaled } from "../../../runtime/kernels/quantize-scaled.ts";
import { transposeTensor } from "../../../runtime/kernels/transpose.ts";
import {
  type ActivationBits,
  biasTensor,
  dequantized,
  dequantizedBias,
  quantizeDequantize,
  scalesForBias,
  type TensorGrid,
  zeroPoint,
} from "../../../targets/lower/qdq.ts";
import { dequantizeExpanded } from "../../../targets/lower/weight-expanded.ts";
import type { IntegerSupport } from "../../../targets/target.ts";
import type { Profile } from "./clock.ts";
import { restOf, type StoredWeight, withFirst } from "./first-token.ts";
import type { Quantizer } from "./grids.ts";
import type { TimeForm } from "./options.ts";
import type { LayerPlan, SitePlan } from "./plan.ts";
import { biasBehind } from "./results.ts";
import { oneScale } from "./weights.ts";
import type { Writing } from "./write.ts";

/** How Q and DQ are written. */
export interface QdqForm {
  readonly bits: ActivationBits;
  /** Domain of the activations' operators, and of those of weights. */
  readonly domain: string;
  readonly weightDomain: string;
  readonly time: TimeForm;
  /** Activations are signed around 0; else unsigned around a zero point. */
  readonly signed: boolean;
  readonly placement: NonNullable<IntegerSupport["placement"]>;
  /** Weights with one scale are int8 where activations are signed, else uint8 around 128. */
  readonly weightScales: IntegerSupport["weightScales"];
  readonly powerOfTwo: boolean;
  /** Activations and weights are E4M3FN instead of integers. */
  readonly float8: boolean;
}

/** Middle of an unsigned 8-bit weight. */
const MIDDLE = 128;

interface QdqWriting extends Writing {
  readonly form: QdqForm;
}

/** Scale of a whole tensor at profile 1; channel scales have gone into the operator before and the weights. */
function tensorScale(q: Quantizer): number {
  return Math.fround(q.scale.length === 1 ? q.scale[0]! : 1);
}

/**
 * base · profile. Where each graph gets it as a constant, a scale of a whole tensor is a scalar, as compilers that read
 * constants want it.
 */
function movingScale({ patch, clock, form }: QdqWriting, base: ArrayLike<number>, profile: Profile): ValueId {
  const scale = clock.scale(base, profile);
  if (form.time !== "graphs" || base.length > 1) return scale;
  return patch.node({ op: "Squeeze", name: `s${scale}/scalar`, inputs: [scale] })[0];
}

function gridOf(w: QdqWriting, q: Quantizer): TensorGrid {
  const { patch, form } = w;
  const looksUp = (form.time === "gathered" || form.time === "graphs") && q.profile !== null;
  const scale = looksUp
    ? movingScale(w, [tensorScale(q)], q.profile)
    : patch.constant(f32Tensor([tensorScale(q)], []), "s");
  const vector = looksUp && form.time === "gathered";
  return { scale, zero: zeroPoint(patch, q.zero[0]!, { ...form, vector }) };
}

/** The factor a value is divided by before constant-scale quantization; `null` when there is none. */
function factorOf(form: QdqForm, q: Quantizer): Profile {
  return form.time === "normalised" ? q.profile : null;
}

function quantized(w: QdqWriting, x: ValueId, o: { readonly grid: Quantizer; readonly name: string }) {
  return quantizeDequantize(w.patch, x, { grid: gridOf(w, o.grid), domain: w.form.domain, name: o.name });
}

function storedWeight(
  { form }: QdqWriting,
  plan: LayerPlan,
  o: { base: Float64Array; scale: Float32Array },
): StoredWeight {
  const { layer } = plan;
  const zero = oneScale(layer.kind, form.weightScales) && !form.signed ? MIDDLE : 0;
  const data = quantizeScaled(layer.weight, {
    outAxis: layer.outAxis,
    inAxis: layer.inAxis,
    factor: f32Tensor(o.base),
    scale: f32Tensor(o.scale),
    zero,
    float8: form.float8,
  });
  return { data, scale: o.scale, zero };
}

function weightOf(
  { patch, form }: QdqWriting,
  { layer }: LayerPlan,
  { data, scale, zero }: StoredWeight,
): ValueId {
  const whole = oneScale(layer.kind, form.weightScales);
  return dequantized(patch, {
    data,
    scale: whole ? [scale[0]!] : scale,
    zero: data.dtype,
    zeroValue: zero,
    axis: layer.outAxis,
    domain: form.weightDomain,
    name: `w${layer.output}`,
  });
}

/** 4 bits in blocks. A Gemm reads its weight output by output: only so are its blocks recognised. */
function blockWeight({ patch }: QdqWriting, { layer, block }: LayerPlan, base: Float64Array): ValueId {
  const gemm = layer.node.op === "Gemm";
  const weight = gemm ? transposeTensor(layer.weight, [1, 0]) : layer.weight;
  const how = { block: block!, factor: f32Tensor(base), name: `w${layer.output}` };
  return dequantizeExpanded(patch, weight, { ...how, inAxis: gemm ? 1 : 0 });
}

/** A bias of 32 bits on the grid of the products; on a grid that moves both are looked up. */
function integerBias(
  w: QdqWriting,
  plan: LayerPlan,
  o: { readonly bias: Float64Array; readonly scale: Float32Array; readonly input: Quantizer },
): ValueId {
  const { patch, clock, form } = w;
  const { bias, input } = o;
  const products = o.scale.map((s) => s * tensorScale(input));
  const same = products.every((s) => s === products[0]);
  const scale = same ? products.slice(0, 1) : products;
  const name = `w${plan.layer.output}.b`;
  const { profile } = input;
  if (profile === null) {
    const data = biasTensor(bias, products);
    return dequantized(patch, {
      data,
      scale,
      zero: "i32",
      zeroValue: 0,
      axis: 0,
      domain: form.weightDomain,
      name,
    });
  }
  const none = new Float64Array(bias.length);
  const beta = bias.map((b, n) => b / products[n]!);
  return dequantizedBias(patch, {
    data: clock.bias(beta, none, { input: profile, output: null }),
    scale: movingScale(w, scale, profile),
    scales: scale.length,
    domain: form.weightDomain,
    name,
  });
}

/** What is added to a result in float, in the shape it broadcasts with. */
function floatBias({ patch }: QdqWriting, plan: LayerPlan): ValueId {
  const { kind, weight, outputs, output } = plan.layer;
  const dims = kind === "conv" ? [1, outputs, ...weight.dims.slice(2).map(() => 1)] : [outputs];
  return patch.constant(f32Tensor(plan.bias!, dims), `w${output}.b`);
}

function writeLayer(
  w: QdqWriting,
  plan: LayerPlan,
  o: {
    readonly base: Float64Array;
    readonly input: Quantizer;
    readonly value: ValueId;
    readonly site: SitePlan["site"];
  },
): void {
  const { patch, form } = w;
  const { layer, bias } = plan;
  const { node } = layer;
  const behind = biasBehind(plan, o.input, form.time);
  const within = behind ? null : bias;
  const least = Math.min(...(o.input.profile ?? [1]));
  const float = form.placement === "inputs";
  const fitting = scalesForBias(plan.fit.scale, float ? null : within, tensorScale(o.input) * least);
  const scale = form.powerOfTwo ? fitting.map(powerOfTwoAbove) : fitting;
  const weight = storedWeight(w, plan, { base: o.base, scale });
  const inputs = [o.value, plan.block === null ? weightOf(w, plan, weight) : blockWeight(w, plan, o.base)];
  if (within !== null)
    inputs.push(
      float
        ? patch.constant(f32Tensor(within), `w${layer.output}.b`)
        : integerBias(w, plan, { bias: within, scale, input: o.input }),
    );
  const attrs: Record<string, Attr> = Object.fromEntries(node.attrs);
  // The weight is [K, N] by now.
  delete attrs["transB"];
  if (plan.block !== null && node.op === "Gemm") attrs["transB"] = intAttr(1);
  const [product] = patch.node({ op: node.op, name: node.name, inputs, attrs });
  let out =
    form.placement === "inputs"
      ? product
      : quantized(w, product, { grid: plan.output!, name: `q${layer.output}` });
  const factor = factorOf(form, o.input);
  if (factor !== null)
    out = patch.node({
      op: "Mul",
      name: `q${layer.output}/time`,
      inputs: [out, w.clock.scale([1], factor)],
    })[0];
  if (behind && bias !== null)
    out = patch.node({ op: "Add", name: `q${layer.output}/bias`, inputs: [out, floatBias(w, plan)] })[0];
  if (o.site.rest)
    out = withFirst(patch, out, { x: o.site.value, weight, bias: plan.firstBias, name: `t${layer.output}` });
  patch.redirect(layer.output, out);
  if (layer.biasNode !== null) patch.remove(layer.biasNode.id);
}

/**
 * Writes a site in standard operators: Q and DQ around the activation that its layers share, weights behind DQ, and where
 * the form says so Q and DQ on every result. Runtimes turn each group of DQ, operator and Q into one integer kernel, or
 * run it in float.
 */
export function writeSiteQdq(w: QdqWriting, plan: SitePlan): void {
  const { patch, clock, form } = w;
  const { site, input, base } = plan;
  plan.fold?.apply(
    patch,
    base.map((s) => 1 / s),
  );
  const factor = factorOf(form, input);
  let x = site.rest ? restOf(patch, site.value) : site.value;
  if (factor !== null) {
    const name = `q${site.value}`;
    const [inverse] = patch.node({
      op: "Reciprocal",
      name: `${name}/inverse`,
      inputs: [clock.scale([1], factor)],
    });
    x = patch.node({ op: "Mul", name: `${name}/time`, inputs: [x, inverse] })[0];
  }
  const value = quantized(w, x, { grid: input, name: `q${site.value}` });
  for (const layer of plan.layers) {
    writeLayer(w, layer, { base, input, value, site });
    patch.remove(layer.layer.node.id);
  }
}
