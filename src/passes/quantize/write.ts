import type { Graph } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import { type PackedWeight, packable, packWeight, writePacked } from "../../targets/lower/packed-matmul.ts";
import { codebookBytes, foldPalette } from "../../targets/lower/palette.ts";
import { dequantizeBlock, foldBlock } from "../../targets/lower/weight-blocks.ts";
import { dequantizeTwice, misfitsNvfp4 } from "../../targets/lower/weight-nvfp4.ts";
import {
  dequantizeChannel,
  foldChannel,
  narrowFloat,
  type SpelledWeight,
  type StoredWeight,
  type WeightGrid,
  type WeightShape,
} from "../../targets/lower/weights.ts";
import type { WeightSpelling } from "../../targets/target.ts";
import type { PassContext } from "../pass.ts";
import type { Fitting } from "./fitting.ts";
import { correctBias } from "./layer-bias.ts";
import { type QuantizeWeightsOptions, type Shared, supportOf } from "./plan.ts";

/** A weight in its new form. */
export interface Written extends StoredWeight {
  readonly shape: WeightShape;
  readonly spelling: WeightSpelling | "f16" | "palette";
}

const BITS = { w8: 8, w4: 4, w2: 2, f4: 4 } as const;

/** What writing a weight needs besides it. */
export interface WriteHow {
  readonly options: QuantizeWeightsOptions;
  readonly fitting: Fitting;
}

/** Writes one weight in its format for all its layers. `null` when it stays as it is. */
export function write(
  graph: Graph,
  patch: PatchBuilder,
  s: Shared,
  how: WriteHow,
  ctx: PassContext,
): Written | null {
  const written = spell(graph, patch, s, how, ctx);
  const correction = written?.fitted?.correction ?? null;
  if (correction !== null && how.fitting.bias !== null)
    correctBias(patch, how.fitting.bias, correction, `w${s.value}.bias`);
  return written;
}

function spell(
  graph: Graph,
  patch: PatchBuilder,
  s: Shared,
  how: WriteHow,
  ctx: PassContext,
): Written | null {
  const { options: o, fitting } = how;
  const { layer } = s.uses[0]!;
  const { tensor, role } = layer;
  // Short names: in a small model the names of added nodes would outweigh what quantizing saves.
  const name = `w${s.value}`;
  const shape: WeightShape = { tensor, outAxis: role.outAxis, inAxis: role.inAxis };
  const redirect = (w: SpelledWeight, spelling: Written["spelling"]): Written => {
    patch.redirect(s.value, w.value);
    if (graph.constant(s.value) !== null) patch.drop(s.value);
    return { ...w, shape, spelling };
  };
  if (s.format === "f32") return null;
  if (s.format === "f16")
    return tensor.dtype === "f32" ? redirect(narrowFloat(patch, tensor, "f16", name), "f16") : null;
  const support = supportOf(ctx.target, s.format);
  const bits = BITS[s.format];
  if (fitting.method === "palette" && fitting.fit !== null) {
    const wanted = { bits, fit: fitting.fit, outputs: o.codebookOutputs, inputs: o.codebookInputs };
    const bytes = codebookBytes(shape, wanted);
    const fine = bytes < tensorBytes(tensor) / 2;
    if (!fine)
      ctx.decide({
        node: layer.node.name,
        kind: "downgraded",
        rule: "codebooks",
        why: `codebooks of this size take ${bytes} bytes, and the weight ${tensorBytes(tensor)}`,
        to: "one codebook",
      });
    return redirect(
      foldPalette(patch, shape, fine ? wanted : { ...wanted, outputs: 0, inputs: 0 }, name),
      "palette",
    );
  }
  const matrix = tensor.dims.length === 2;
  const wanted = (matrix ? support.gemm : support.conv) ?? "float";
  const canPack = s.uses.every((u) => packable(u.layer.node));
  const unpacked = support.conv === "dequantize-block" ? support.conv : "fold-block";
  const spelling = wanted === "matmul-nbits" && !canPack ? unpacked : wanted;
  const grid: WeightGrid = {
    bits,
    block: bits === 8 ? Math.max(o.block, 128) : o.block,
    symmetric: o.symmetric || support.symmetricOnly === true,
    search: o.search,
    fit: fitting.fit,
  };
  switch (spelling) {
    case "float":
      ctx.decide({
        node: layer.node.name,
        kind: "skipped",
        rule: "weight-format",
        why: `the target keeps weights of such layers in float where others are ${s.format}`,
        to: "f32",
      });
      return null;
    case "dequantize-block":
      return redirect(dequantizeBlock(patch, shape, grid, name), spelling);
    case "dequantize-nvfp4": {
      const why = misfitsNvfp4(shape);
      if (why === null) return redirect(dequantizeTwice(patch, shape, name), spelling);
      ctx.decide({ node: layer.node.name, kind: "skipped", rule: "weight-format", why, to: "f32" });
      return null;
    }
    case "dequantize-channel":
      return redirect(dequantizeChannel(patch, shape, grid, name), "dequantize-channel");
    case "fold-channel":
      return redirect(foldChannel(patch, shape, grid, name), spelling);
    case "fold-block":
      return redirect(foldBlock(patch, shape, grid, name), spelling);
    case "matmul-nbits": {
      const packed: PackedWeight = packWeight(patch, shape, grid, name, support.accuracyLevel ?? 0);
      for (const u of s.uses) writePacked(patch, u.layer.node, packed, support.accuracyLevel ?? 0);
      if (graph.constant(s.value) !== null) patch.drop(s.value);
      return { ...packed, shape, spelling };
    }
  }
}
