import { opKey } from "../../../ir/graph.ts";
import { opSpec } from "../../../ir/ops/index.ts";
import { groupProblem, splitGeluProblem } from "../../fused-shapes.ts";
import { attentionProblems, packedForms, packedProblems, placed, resizeProblems } from "../forms.ts";
import { dequantized, isDequantize, isQuantize } from "../pairs.ts";
import { defineRule, type Finding, type Rule } from "../types.ts";

const SOURCE = "onnxruntime source of 2026-03";
const CUDA = "onnxruntime CUDA provider";
const DIRECTML = "onnxruntime DirectML provider";

/** Rules of providers with hand-written GPU kernels. */
export const gpuRules: readonly Rule[] = [
  defineRule({
    id: "CUDA-1",
    severity: "slow",
    capability: "limits.pairsCost",
    claim: "no conversions to 8 bits around convolutions and products, and no GroupNormalization",
    source: SOURCE,
    runtime: CUDA,
    confirmed: false,
    of: (t) =>
      t.limits.pairsCost === undefined
        ? null
        : { products: t.limits.pairsCost, inlined: t.limits.inlined ?? [] },
    *find(view, { products, inlined }) {
      for (const node of view.nodes) {
        if (products.includes(opKey(node)) && dequantized(view, node, 0) !== null)
          yield {
            node,
            why: "conversions around it are kernels of their own: fp16 is faster",
            places: "float",
          };
        if (inlined.includes(opKey(node)))
          yield { node, why: `${node.op} has no kernel and is written out; com.microsoft:GroupNorm has one` };
      }
    },
  }),
  defineRule({
    id: "CUDA-2",
    severity: "reject",
    capability: "limits.fusedShapes",
    claim:
      "GroupNorm has the layout, the type and number of gammas and betas and the channels per group that are taken; BiasSplitGelu has three axes and a width with a kernel",
    source: SOURCE,
    runtime: CUDA,
    confirmed: false,
    of: (t) => t.limits.fusedShapes,
    *find(view, limits) {
      const { channelsLast, parameters, parametersPerGroup, splitGeluWidths } = limits;
      for (const node of view.nodes) {
        const key = opKey(node);
        const shape = view.shape(node.inputs[0]);
        const last = shape?.[shape.length - 1];
        if (key === "com.microsoft:BiasSplitGelu") {
          const why = splitGeluProblem(splitGeluWidths ?? null, { rank: shape?.length, width: last });
          if (why !== null) yield { node, why };
        }
        if (key !== "com.microsoft:GroupNorm" && key !== "com.microsoft:SkipGroupNorm") continue;
        if (channelsLast && view.int(node, "channels_last", 1) === 0)
          yield { node, why: `${node.op} has its channels first` };
        const types = [1, 2].map((i) => view.dtype(node.inputs[i])).filter((d) => d !== null);
        if (parameters !== undefined && types.some((d) => d !== parameters))
          yield { node, why: `gamma and beta are ${types.join(" and ")}, the kernel reads ${parameters}` };
        const channels = view.shape(node.inputs[1])?.[0];
        const groups = view.int(node, "groups", 0);
        if (parametersPerGroup && typeof channels === "number" && channels !== groups)
          yield {
            node,
            why: `it has ${channels} gammas, the importer reads one for each of ${groups} groups`,
          };
        const why =
          typeof channels === "number"
            ? groupProblem(limits, { rank: shape?.length, channels, groups })
            : null;
        if (why !== null) yield { node, why };
      }
    },
  }),
  defineRule({
    id: "CUDA-3",
    severity: "slow",
    capability: "limits.attention",
    claim:
      "heads are a multiple of 8 up to 256 wide, without mask; the standard Attention has no boolean mask and no softcap",
    source: SOURCE,
    runtime: CUDA,
    confirmed: false,
    of: (t) => t.limits.attention,
    find: attentionProblems,
  }),
  defineRule({
    id: "CUDA-4",
    severity: "slow",
    capability: "limits.packedProducts",
    claim:
      "MatMulNBits has blocks of 64 or 128 that divide the summed length, outputs in multiples of 64 (4 bits) or 32 (8 bits), no bias and no g_idx",
    source: SOURCE,
    runtime: CUDA,
    confirmed: false,
    of: (t) => t.limits.packedProducts,
    find: packedProblems,
  }),
  defineRule({
    id: "CUDA-5",
    severity: "reject",
    capability: "packedAttention",
    claim:
      "packed queries, keys and values are [batch, tokens, heads, 3, width], packed keys and values [batch, tokens, heads, 2, width] as wide as the query's heads, without past, these without bias",
    source: "onnxruntime source, multihead_attention_helper.h",
    runtime: CUDA,
    confirmed: false,
    of: (t) => t.packedAttention,
    find: packedForms,
  }),
  defineRule({
    id: "DML-1",
    severity: "reject",
    capability: "limits.hostArguments",
    claim:
      "no operator changed after the newest opset the provider takes, QuantizeLinear and DequantizeLinear excepted; Resize has constant scales; MatMulNBits has whole blocks, no bias and no g_idx",
    source: SOURCE,
    runtime: DIRECTML,
    confirmed: false,
    of: (t) => t.limits.hostArguments,
    *find(view, { resize, packed }, target): Generator<Finding> {
      const { max } = target.opset;
      for (const node of view.nodes) {
        if (node.domain !== "" || isQuantize(node) || isDequantize(node)) continue;
        const since =
          opSpec("", node.op)
            ?.versions.filter((v) => v <= view.opset)
            .at(-1) ?? 0;
        if (since > max)
          yield {
            node,
            why: `${node.op} is in its form of opset ${since}, kernels exist up to ${max}`,
            places: "leaves",
          };
      }
      yield* placed(resizeProblems(view, resize), "leaves");
      yield* placed(packedProblems(view, packed), "leaves");
    },
  }),
];
