import { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, type Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import type { SaturationRule } from "../../numeric/quantize/saturation.ts";
import { asF32 } from "../../runtime/kernels/elements.ts";
import { quantizeScaled } from "../../runtime/kernels/quantize-scaled.ts";
import { dynamicMatMul } from "../../targets/lower/integer.ts";
import { importContrib } from "../fuse/driver.ts";
import type { PassContext } from "../pass.ts";
import type { Site, StaticLayer } from "./static/sites.ts";
import { fitWeight } from "./static/weights.ts";

/** Rows of a product that are known without its symbolic lengths, and whether there are some. */
function rowsOf(shape: readonly Dim[] | null): { readonly least: number; readonly open: boolean } {
  const rows = shape?.slice(0, -1) ?? null;
  if (rows === null) return { least: 1, open: true };
  const known = rows.filter((d) => typeof d === "number");
  return { least: known.reduce((a, b) => a * b, 1), open: known.length < rows.length };
}

/** Why the layers of a site are not quantized while they run; `null` when they can be. */
export function dynamicObstacle(
  site: Site,
  minRows: number,
  ctx: Pick<PassContext, "shapes">,
): { readonly rule: string; readonly why: string } | null {
  if (site.kind === "conv")
    return { rule: "operator", why: "convolutions on dynamic 8-bit inputs are slower than in float" };
  if (ctx.shapes().dtype(site.value) !== "f32")
    return { rule: "input-type", why: "the operator takes float32 inputs" };
  const { least, open } = rowsOf(ctx.shapes().shape(site.value));
  if (least >= minRows) return null;
  return {
    rule: "min-rows",
    why: open
      ? `it is not known to have ${minRows} rows: other lengths are symbolic`
      : `it has ${least} rows, fewer than ${minRows}`,
  };
}

/** A weight in int8 with one symmetric scale per output channel. */
export interface DynamicWeight {
  /** int8 [K, N]. */
  readonly data: Tensor;
  /** float32 [N]. */
  readonly scale: Tensor;
  /** Relative squared error of the weight. */
  readonly error: number;
}

/** Fits a layer's weight under a saturation rule. */
export async function dynamicWeight(
  layer: StaticLayer,
  rule: SaturationRule,
  ctx: Pick<PassContext, "reader">,
): Promise<DynamicWeight> {
  const { dtype, dims } = layer.weight;
  const w = asF32({ dtype, dims, bytes: await ctx.reader.read(layer.weight) });
  const factor = new Float32Array(layer.channels).fill(1);
  const fit = fitWeight(w, layer, { factor, mean: new Float32Array(layer.channels), rule });
  const scale = f32Tensor(fit.scale);
  const { outAxis, inAxis } = layer;
  const data = quantizeScaled(layer.weight, { outAxis, inAxis, factor: f32Tensor(factor), scale });
  return { data, scale, error: fit.error };
}

/** Puts the operator that quantizes its input while it runs in place of each layer and records it. */
export async function writeDynamic(
  layers: readonly StaticLayer[],
  rule: SaturationRule,
  pass: string,
  ctx: PassContext,
): Promise<void> {
  const patch = new PatchBuilder(ctx.model.graph, pass);
  for (const layer of layers) {
    const weight = await dynamicWeight(layer, rule, ctx);
    const { bias } = layer;
    const out = dynamicMatMul(patch, {
      input: layer.input,
      weight: weight.data,
      weightScale: weight.scale,
      bias:
        bias === null
          ? null
          : f32Tensor(asF32({ dtype: bias.dtype, dims: bias.dims, bytes: await ctx.reader.read(bias) })),
      node: layer.node.name,
      name: `w${layer.output}`,
    });
    patch.redirect(layer.output, out);
    patch.remove(layer.node.id);
    if (layer.biasNode !== null) patch.remove(layer.biasNode.id);
    ctx.decide({
      node: layer.name,
      kind: "applied",
      rule: "dynamic-matmul",
      from: "f32",
      to: "a8w8",
      error: {
        metric: "sqnr-db",
        value: Math.round(-1000 * Math.log10(Math.max(weight.error, 1e-30))) / 100,
      },
    });
  }
  if (patch.apply()) importContrib(ctx.model);
}
