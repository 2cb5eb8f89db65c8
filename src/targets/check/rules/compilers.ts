import { opKey } from "../../../ir/graph.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { modelBytes } from "../../../ir/weights.ts";
import {
  attentionProblems,
  computedArguments,
  packedAttention,
  packedProblems,
  placed,
  resizeProblems,
  takes,
} from "../forms.ts";
import { gridOf, isDequantize, isQuantize } from "../pairs.ts";
import { defineRule, type Rule } from "../types.ts";

const LAVAPIPE = "probed earlier with onnxruntime-node 1.30.0 and its WebGPU provider on software Vulkan";
const SOURCE = "onnxruntime source of 2026-03";

/** Rules of shaders, and of compilers of whole graphs for GPUs and NPUs other than Qualcomm's. */
export const compilerRules: readonly Rule[] = [
  defineRule({
    id: "WGPU-1",
    severity: "reject",
    capability: "limits.shaders",
    claim:
      "no operators or packed attention without a kernel anywhere, no Split into more outputs than storage buffers, no antialiased Resize, no cubic one in half precision",
    source: LAVAPIPE,
    runtime: "onnxruntime 1.30 WebGPU provider",
    confirmed: false,
    of: (t) =>
      t.limits.shaders === undefined
        ? null
        : {
            ...t.limits.shaders,
            noKernel: t.limits.noKernel ?? [],
            packed: t.limits.packedAttention !== false,
          },
    *find(view, { splitOutputs, resize, noKernel, packed }) {
      for (const node of view.nodes) {
        if (noKernel.includes(opKey(node)))
          yield { node, why: `there is no kernel for ${opKey(node)}`, places: "leaves" };
        if (opKey(node) === "Split" && node.outputs.length > splitOutputs)
          yield { node, why: `Split has ${node.outputs.length} outputs, taken are up to ${splitOutputs}` };
      }
      yield* placed(resizeProblems(view, resize), "leaves");
      if (!packed) yield* placed(packedAttention(view), "leaves");
    },
  }),
  defineRule({
    id: "WGPU-2",
    severity: "slow",
    capability: "limits.operators",
    claim:
      "no QuantizeLinear, GroupNormalization, standard Attention, SpaceToDepth, DynamicQuantizeMatMul or other operator that runs on the CPU",
    source: LAVAPIPE,
    runtime: "onnxruntime 1.30 WebGPU provider",
    confirmed: false,
    of: (t) =>
      t.limits.shaders && t.limits.operators
        ? { operators: t.limits.operators, inlined: t.limits.inlined ?? [] }
        : null,
    *find(view, { operators, inlined }) {
      for (const node of view.nodes) {
        if (!takes(operators, node)) yield { node, why: `${opKey(node)} runs on the CPU`, places: "leaves" };
        if (inlined.includes(opKey(node)))
          yield { node, why: `${node.op} is written out, and part of it runs on the CPU`, places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "WGPU-3",
    severity: "slow",
    capability: "limits.shaderProducts",
    claim:
      "MatMulNBits has blocks of 32, a summed length of a multiple of 128, outputs in multiples of 16, no zero points at 2 bits; heads are a multiple of 4",
    source: SOURCE,
    runtime: "onnxruntime WebGPU provider",
    confirmed: false,
    of: (t) => t.limits.shaderProducts,
    *find(view, limits) {
      yield* packedProblems(view, limits);
      yield* attentionProblems(view, { headMultiple: limits.headMultiple });
    },
  }),
  defineRule({
    id: "WGPU-4",
    severity: "reject",
    capability: "limits.page",
    claim: "weights fit into the memory a page can address, and each tensor into one buffer",
    source: "onnxruntime-web documentation",
    runtime: "onnxruntime-web",
    confirmed: false,
    of: (t) => t.limits.page,
    *find(view, { totalBytes, tensorBytes: most }) {
      const total = modelBytes(view.model);
      if (total > totalBytes)
        yield { node: null, why: `weights take ${total} bytes, a page addresses ${totalBytes}` };
      for (const v of view.graph.values())
        if (v.init !== null && tensorBytes(v.init) > most)
          yield { node: null, why: `"${v.name}" takes ${tensorBytes(v.init)} bytes, a buffer holds ${most}` };
    },
  }),
  defineRule({
    id: "MGX-1",
    severity: "reject",
    capability: "limits.constantArguments",
    claim:
      "the opset is one the parser knows; arguments of Reshape, Slice, Expand, Range, Pad and ReduceSum are constants; Resize is not cubic",
    source: `${SOURCE}; ROCm documentation 7.2`,
    runtime: "MIGraphX 7.2",
    confirmed: false,
    of: (t) => t.limits.constantArguments,
    *find(view, { constants, resize }, target) {
      if (view.opset > target.opset.max)
        yield { node: null, why: `opset ${view.opset} is newer than ${target.opset.max}` };
      yield* placed(computedArguments(view, constants), "leaves");
      yield* placed(resizeProblems(view, resize), "leaves");
    },
  }),
  defineRule({
    id: "MGX-2",
    severity: "slow",
    capability: "limits.constantArguments",
    claim: "Pad is constant or reflecting, and MaxPool is not in 8 bits",
    source: SOURCE,
    runtime: "onnxruntime MIGraphX provider",
    confirmed: false,
    of: (t) => t.limits.constantArguments,
    *find(view, { padModes, noIntegerPool }) {
      for (const node of view.nodes) {
        const mode = view.text(node, "mode", "constant");
        if (opKey(node) === "Pad" && !padModes.includes(mode))
          yield { node, why: `Pad is in mode ${mode}`, places: "leaves" };
        const type = view.dtype(node.inputs[0]);
        if (noIntegerPool && opKey(node) === "MaxPool" && (type === "u8" || type === "i8"))
          yield { node, why: `MaxPool reads ${type}`, places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "OV-1",
    severity: "reject",
    capability: "limits.lengths",
    claim: "no length is zero; Resize has no antialias, no exclude_outside and usual coordinates",
    source: SOURCE,
    runtime: "onnxruntime OpenVINO provider",
    confirmed: false,
    of: (t) => t.limits.lengths,
    *find(view, { resize }) {
      for (const node of view.nodes)
        if (
          [...node.inputs, ...node.outputs].some(
            (v) => v !== null && view.shape(v)?.includes(0) && opKey(node) !== "Resize",
          )
        )
          yield { node, why: "it has a tensor without elements", places: "leaves" };
      yield* placed(resizeProblems(view, resize), "leaves");
    },
  }),
  defineRule({
    id: "VAI-1",
    severity: "slow",
    capability: "limits.column",
    claim:
      "the operator is in the column of the number format; XINT8 has scales that are powers of two and zero points of 0",
    source: "AMD Ryzen AI 1.5 operator support and model quantization pages",
    runtime: "Ryzen AI 1.5",
    confirmed: false,
    of: (t) => t.limits.column,
    *find(view, { format, absent, powerOfTwo }) {
      for (const node of view.nodes) {
        if (absent.includes(opKey(node)))
          yield { node, why: `${node.op} is not in the column of ${format}`, places: "leaves" };
        if (!powerOfTwo || !(isQuantize(node) || isDequantize(node))) continue;
        const { scale, zero } = gridOf(view, node);
        const odd = scale?.find((s) => !Number.isInteger(Math.log2(s)));
        if (odd !== undefined) yield { node, why: `its scale ${odd} is no power of two`, places: "leaves" };
        if (zero?.some((z) => z !== 0)) yield { node, why: "its zero point is not 0", places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "CML-1",
    severity: "slow",
    capability: "limits.program",
    claim:
      "operators, types and forms are those of ML programs: fp16 and fp32, dims of convolutions up to 16384, nearest Resize with asymmetric and floor by whole scales",
    source: SOURCE,
    runtime: "onnxruntime CoreML provider",
    confirmed: false,
    of: (t) =>
      t.limits.program && t.limits.operators ? { ...t.limits.program, operators: t.limits.operators } : null,
    *find(view, { types, convDim, resize, operators }) {
      for (const node of view.nodes) {
        if (!takes(operators, node)) {
          yield { node, why: `ML programs have no ${opKey(node)}`, places: "leaves" };
          continue;
        }
        const type = view.dtype(node.inputs[0]);
        const moves = [
          "Cast",
          "Shape",
          "Reshape",
          "Concat",
          "Identity",
          "Squeeze",
          "Unsqueeze",
          "Slice",
          "Split",
          "Transpose",
        ];
        if (type !== null && !types.includes(type) && !moves.includes(node.op))
          yield { node, why: `${node.op} is in ${type}`, places: "leaves" };
        const dims = /^Conv/.test(node.op)
          ? [...(view.shape(node.inputs[0]) ?? []), ...(view.shape(node.inputs[1]) ?? [])]
          : [];
        if (dims.some((d) => typeof d === "number" && d > convDim))
          yield { node, why: `it has a length above ${convDim}`, places: "leaves" };
        if (opKey(node) === "ConvTranspose" && !view.isKnown(node.inputs[1]))
          yield { node, why: "its weight is computed", places: "leaves" };
      }
      yield* placed(resizeProblems(view, resize), "leaves");
    },
  }),
];
