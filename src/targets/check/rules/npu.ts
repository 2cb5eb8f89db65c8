import { opKey } from "../../../ir/graph.ts";
import { opSpec } from "../../../ir/ops/index.ts";
import { placed, resizeProblems } from "../forms.ts";
import { dequantized, gridOf, gridType, isDequantize, isQuantize, quantizers, whyFloat } from "../pairs.ts";
import { defineRule, type Finding, type Rule } from "../types.ts";
import type { CheckView } from "../view.ts";

const EP = "onnxruntime QNN provider 2.x source";
const DOCS = "Qualcomm AI Engine Direct documentation";
const RUNTIME = "onnxruntime QNN provider 2.x, HTP backend";

/** Equations of Einsum that are products of matrices: two factors, and every letter at most once in each term. */
function isProductEquation(equation: string): boolean {
  const [left, right] = equation.replaceAll(" ", "").split("->");
  const terms = left?.split(",") ?? [];
  if (terms.length !== 2 || right === undefined || equation.includes(".")) return false;
  return [...terms, right].every((t) => new Set(t).size === t.length);
}

function* shapeProblems(
  view: CheckView,
  ranks: Readonly<Record<string, readonly [number, number]>>,
): Generator<Finding> {
  for (const node of view.nodes) {
    const range = node.domain === "" ? ranks[node.op] : undefined;
    const rank = view.shape(node.inputs[0])?.length;
    if (range !== undefined && rank !== undefined && (rank < range[0] || rank > range[1]))
      yield {
        node,
        why: `${node.op} has rank ${rank}, taken are ${range[0]} to ${range[1]}`,
        places: "leaves",
      };
    if (opKey(node) !== "Gemm") continue;
    for (const name of ["alpha", "beta"]) {
      const a = view.attr(node, name);
      if (a?.kind === "float" && a.value !== 1)
        yield { node, why: `Gemm has ${name} ${a.value}, taken is 1`, places: "leaves" };
    }
  }
}

/** Rules of Qualcomm's NPU, and those of half precision. */
export const npuRules: readonly Rule[] = [
  defineRule({
    id: "QNN-1",
    severity: "reject",
    capability: "limits.npu",
    claim:
      "ranks are those of the operators' builders; Resize changes spatial axes only, in forms the NPU has; Gemm has alpha and beta of 1",
    source: EP,
    runtime: RUNTIME,
    confirmed: false,
    of: (t) => t.limits.npu,
    *find(view, { ranks, resize, nearestRefused }) {
      yield* shapeProblems(view, ranks);
      yield* placed(resizeProblems(view, resize), "leaves");
      for (const node of view.nodes) {
        if (opKey(node) !== "Resize" || view.text(node, "mode", "nearest") !== "nearest") continue;
        const coordinates = view.text(node, "coordinate_transformation_mode", "half_pixel");
        const nearest = view.text(node, "nearest_mode", "round_prefer_floor");
        if (nearestRefused.some(([c, n]) => c === coordinates && n === nearest))
          yield { node, why: `Resize rounds by ${nearest} with ${coordinates}; use floor`, places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "QNN-2",
    severity: "reject",
    capability: "limits.weightAxes",
    claim:
      "scales of convolution weights run along axis 0, of transposed ones along axis 1; 16-bit weights have one scale; there is no MatMulNBits",
    source: EP,
    runtime: RUNTIME,
    confirmed: false,
    of: (t) => t.limits.weightAxes,
    *find(view, { axes, perTensorTypes }) {
      for (const node of view.nodes) {
        if (opKey(node) === "com.microsoft:MatMulNBits")
          yield { node, why: "MatMulNBits is lowered on the GPU backend only", places: "leaves" };
        const weight = dequantized(view, node, 1);
        if (weight === null || !view.isKnown(weight.inputs[0])) continue;
        const scales = view.shape(weight.inputs[1]);
        if (scales === null || scales.length === 0 || scales[0] === 1) continue;
        const rank = view.shape(weight.inputs[0])?.length ?? 0;
        const axis = view.int(weight, "axis", 1);
        const wanted = node.domain === "" ? axes[node.op] : undefined;
        const found = axis < 0 ? axis + rank : axis;
        if (wanted !== undefined && found !== wanted)
          yield {
            node,
            why: `its weight has scales along axis ${found}, taken is ${wanted}`,
            places: "leaves",
          };
        if (perTensorTypes.includes(gridType(view, weight)))
          yield {
            node,
            why: `its ${gridType(view, weight)} weight has a scale per channel`,
            places: "leaves",
          };
      }
    },
  }),
  defineRule({
    id: "QNN-3",
    severity: "reject",
    capability: "limits.productTypes",
    claim:
      "factors of products have one of the pairs of types the NPU has; 16-bit conversions are contributed ones below opset 21",
    source: DOCS,
    runtime: RUNTIME,
    confirmed: false,
    of: (t) => t.limits.productTypes,
    *find(view, { pairs, wideFromOpset }) {
      for (const node of view.nodes) {
        if (
          (isQuantize(node) || isDequantize(node)) &&
          node.domain === "" &&
          view.opset < wideFromOpset &&
          /^[ui]16$/.test(gridType(view, node))
        )
          yield {
            node,
            why: `a 16-bit conversion of the standard domain needs opset ${wideFromOpset}, the model has ${view.opset}`,
          };
        if (opKey(node) !== "MatMul") continue;
        const [a, b] = [dequantized(view, node, 0), dequantized(view, node, 1)];
        if (a === null || b === null) continue;
        const [ta, tb] = [gridType(view, a), gridType(view, b)];
        if (!pairs.some(([p, q]) => p === ta && q === tb))
          yield {
            node,
            why: `MatMul multiplies ${ta} by ${tb}; taken are ${pairs.map((p) => p.join(" by ")).join(", ")}`,
            places: "leaves",
          };
      }
    },
  }),
  defineRule({
    id: "QNN-4",
    severity: "numeric",
    capability: "limits.fixedGrids",
    claim:
      "16-bit outputs of Sigmoid and Tanh have the NPU's own grids, and 4-bit weights have a zero point tensor",
    source: EP,
    runtime: RUNTIME,
    confirmed: false,
    of: (t) => t.limits.fixedGrids,
    *find(view, grids) {
      for (const node of view.nodes) {
        const fixed = node.domain === "" ? grids[node.op] : undefined;
        for (const q of fixed === undefined ? [] : quantizers(view, node)) {
          const wanted = fixed!.find((g) => g.type === gridType(view, q));
          const { scale, zero } = gridOf(view, q);
          if (wanted === undefined || scale === null || zero === null) continue;
          if (Math.abs(scale[0]! / wanted.scale - 1) > 1e-4 || zero[0] !== wanted.zero)
            yield {
              node,
              why: `its output has scale ${scale[0]} and zero point ${zero[0]}, the NPU uses ${wanted.scale} and ${wanted.zero}`,
            };
        }
        const stored = isDequantize(node) ? view.dtype(node.inputs[0]) : null;
        if ((stored === "i4" || stored === "u4") && (node.inputs[2] === undefined || node.inputs[2] === null))
          yield { node, why: `${stored} weights without a zero point tensor are taken for 8-bit ones` };
      }
    },
  }),
  defineRule({
    id: "QNN-5",
    severity: "slow",
    capability: "limits.islands",
    claim:
      "LayerNormalization is over the last axis, Einsum is a product, and floats stand only where the NPU computes in half precision",
    source: `${EP}; ${DOCS}`,
    runtime: RUNTIME,
    confirmed: false,
    of: (t) => t.limits.islands,
    *find(view, { float, lastAxisNorm, productEquations }, target) {
      for (const node of view.nodes) {
        const rank = view.shape(node.inputs[0])?.length;
        const axis = view.int(node, "axis", -1);
        if (
          lastAxisNorm &&
          opKey(node) === "LayerNormalization" &&
          rank !== undefined &&
          axis !== -1 &&
          axis !== rank - 1
        )
          yield {
            node,
            why: `LayerNormalization is over axes from ${axis} on, taken is the last`,
            places: "leaves",
          };
        if (
          productEquations &&
          opKey(node) === "Einsum" &&
          !isProductEquation(view.text(node, "equation", ""))
        )
          yield {
            node,
            why: `Einsum "${view.text(node, "equation", "")}" is no product of two matrices`,
            places: "leaves",
          };
        if (float || isQuantize(node) || isDequantize(node)) continue;
        const type = view.dtype(node.outputs[0]);
        if (
          (type === "f32" || type === "f16") &&
          opSpec(node.domain, node.op) !== undefined &&
          whyFloat(view, node, target.limits) !== null
        )
          yield { node, why: "it computes in float, which this NPU does not", places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "FP16-1",
    severity: "numeric",
    capability: "half",
    claim:
      "values stay below 65504 over the margin, attention is scaled before its product, and inputs that are fp32 by definition stay fp32",
    source:
      "onnxruntime float16 converter; measured on software Vulkan that fp16 products overflow there and not on the CPU",
    runtime: "every provider that computes in half precision",
    confirmed: false,
    of: (t) => (t.compute.includes("f16") ? t.half : null),
    *find(view, { margin, keepF32Inputs }) {
      for (const node of view.nodes) {
        const kept = keepF32Inputs.find((k) => k.op === opKey(node))?.inputs ?? [];
        const narrow = kept.find((i) => view.dtype(node.inputs[i]) === "f16");
        if (narrow !== undefined)
          yield { node, why: `input ${narrow} of ${node.op} is fp16 and has to be fp32` };
        const out = node.outputs[0];
        if (out === null || out === undefined || view.dtype(out) !== "f16") continue;
        // A Cast says what it reads, which may have been measured under that name alone.
        const measured = [out, ...(node.op === "Cast" ? node.inputs : [])].flatMap((id) =>
          id === null ? [] : (view.ranges.get(view.graph.value(id).name) ?? []),
        );
        const most = measured[0];
        if (most !== undefined && most > 65504 / margin)
          yield { node, why: `its output reaches ${most}, more than 65504 / ${margin}` };
        if (opKey(node) !== "MatMul" || view.isKnown(node.inputs[1])) continue;
        const scaled = view.readers(out).filter((r) => {
          if (!["Mul", "Div"].includes(opKey(r))) return false;
          const factor = view.numbers(r.inputs.find((i) => i !== out));
          const by = factor?.length === 1 ? (r.op === "Div" ? 1 / factor[0]! : factor[0]!) : 1;
          return by < 1;
        });
        if (scaled.length > 0)
          yield {
            node,
            why: "a product of activations in fp16 is scaled down only afterwards; scale its factors",
          };
      }
    },
  }),
];
