import type { DType } from "../../../ir/dtype.ts";
import { type Node, opKey } from "../../../ir/graph.ts";
import { weightRole } from "../../../ir/ops/index.ts";
import { computedArguments, placed, resizeProblems } from "../forms.ts";
import { dequantized, gridOf, gridType, isDequantize, isQuantize, quantizers } from "../pairs.ts";
import { defineRule, type Finding, type Rule } from "../types.ts";
import type { CheckView } from "../view.ts";

const IMPORTER = "onnx-tensorrt importer 10.1 and operator table 10.15";
const DOCS = "NVIDIA TensorRT documentation";
const VERSION = "TensorRT 10.15";

const isPair = (node: Node): boolean => isQuantize(node) || isDequantize(node);

/** Conversions whose integers or zero points the importer refuses. */
function* asymmetric(view: CheckView, types: readonly DType[]): Generator<Finding> {
  for (const node of view.nodes) {
    if (!isPair(node)) continue;
    const zero = gridOf(view, node).zero;
    if (zero?.some((z) => z !== 0)) yield { node, why: "its zero point is not 0", places: "leaves" };
    const type = gridType(view, node);
    const untyped = view.dtype(node.inputs[2]) === null && isQuantize(node);
    if (!types.includes(type) && !untyped)
      yield {
        node,
        why:
          type === "i32"
            ? "it dequantizes int32, and biases have to stay float"
            : `it converts ${type}, taken are ${types.join(", ")}`,
        places: "leaves",
      };
  }
}

/** Zeros in every aligned group of four along an axis; a share between says that the pattern was meant. */
function pairedZeros(
  q: ArrayLike<number>,
  dims: readonly number[],
  axis: number,
): { share: number; holds: boolean } {
  const stride = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const length = dims[axis]!;
  let [zeros, holds] = [0, true];
  for (let start = 0; start < q.length; start++) {
    if (q[start] === 0) zeros++;
    const at = Math.floor(start / stride) % length;
    if (at % 4 !== 0) continue;
    const group = [0, 1, 2, 3].filter((i) => at + i < length && q[start + i * stride] === 0).length;
    if (group < 2) holds = false;
  }
  return { share: zeros / q.length, holds };
}

/** Shares of zeros at which a weight was meant to be sparse in halves. */
const MEANT = { from: 0.45, to: 0.75 };

function* brokenSparsity(view: CheckView): Generator<Finding> {
  for (const node of view.nodes) {
    const role = weightRole(view.graph, view.shapes, node);
    const behind =
      isDequantize(view.producer(node.inputs[1])) && ["Conv", "MatMul", "Gemm"].includes(node.op);
    const id = behind
      ? dequantized(view, node, 1)!.inputs[0]
      : role === null
        ? null
        : node.inputs[role.input];
    const [q, dims] = [view.numbers(id), view.constant(id)?.dims];
    if (q === null || dims === undefined || dims.length < 2) continue;
    const axis =
      role?.inAxis ?? (node.op === "Conv" || view.int(node, "transB", 0) !== 0 ? 1 : dims.length - 2);
    const { share, holds } = pairedZeros(q, dims, axis);
    if (share < MEANT.from || share > MEANT.to) continue;
    const percent = Math.round(share * 100);
    if (dims[axis]! % 4 !== 0)
      yield {
        node,
        why: `${percent} % of its weights are zero, but it has ${dims[axis]} inputs, no multiple of 4`,
      };
    else if (!holds)
      yield {
        node,
        why: `${percent} % of its weights are zero, but not two in every four along its inputs, so none are skipped`,
      };
  }
}

/** Number of axes along which a block scale is shorter than the weight, and the last of them. */
function blockedAxes(view: CheckView, node: Node): { axes: number[]; rank: number } | null {
  const [w, s] = [view.shape(node.inputs[0]), view.shape(node.inputs[1])];
  if (w === null || s === null || s.length !== w.length || w.length < 2) return null;
  return { axes: w.flatMap((d, i) => (d === s[i] ? [] : [i])), rank: w.length };
}

/** Families of 8-bit types; a model keeps to one. */
function families(view: CheckView): Map<string, Node> {
  const found = new Map<string, Node>();
  for (const node of view.nodes) {
    if (!isPair(node)) continue;
    const type = gridType(view, node);
    const family = type.startsWith("f8") ? "fp8" : type === "i8" || type === "u8" ? "int8" : null;
    if (family !== null && !found.has(family)) found.set(family, node);
  }
  return found;
}

/** Rules of TensorRT's importer and of what its builder fuses. */
export const tensorrtRules: readonly Rule[] = [
  defineRule({
    id: "TRT-1",
    severity: "reject",
    capability: "limits.symmetric",
    claim:
      "zero points are 0, integers are signed, biases stay float, and there are neither operators on integers nor of com.microsoft",
    source: IMPORTER,
    runtime: VERSION,
    confirmed: false,
    of: (t) => t.limits.symmetric,
    *find(view, { types, operators }) {
      yield* asymmetric(view, types);
      for (const node of view.nodes) {
        if (operators.includes(opKey(node)))
          yield { node, why: `${node.op} is not imported`, places: "leaves" };
        if (node.domain === "com.microsoft")
          yield { node, why: `${opKey(node)} is not imported`, places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "TRT-2",
    severity: "reject",
    capability: "limits.blockScales",
    claim:
      "block scales have one blocked axis, the last or the one before; 4-bit weights have an even last dimension; fp4 blocks hold 16",
    source: `${IMPORTER}; ${DOCS}`,
    runtime: VERSION,
    confirmed: false,
    of: (t) => t.limits.blockScales,
    *find(view, { axesFromLast, f4Block, evenLast }) {
      for (const node of view.nodes) {
        if (!isPair(node)) continue;
        const type =
          view.dtype(isDequantize(node) ? node.inputs[0] : node.outputs[0]) ?? gridType(view, node);
        const last = view.shape(node.inputs[0])?.at(-1);
        if (evenLast.includes(type) && typeof last === "number" && last % 2 !== 0)
          yield { node, why: `${type} weights have a last dimension of ${last}, which must be even` };
        const block = view.int(node, "block_size", 0);
        if (block === 0) continue;
        if (type === "f4e2m1" && block !== f4Block)
          yield { node, why: `fp4 has blocks of ${block}, taken are ${f4Block}` };
        const found = blockedAxes(view, node);
        if (found === null) continue;
        if (found.axes.length > 1)
          yield { node, why: `its scales are blocked along ${found.axes.length} axes` };
        const axis = found.axes[0];
        if (axis !== undefined && found.rank - axis > axesFromLast)
          yield {
            node,
            why: `its scales are blocked along axis ${axis} of ${found.rank}, taken are the last two`,
          };
      }
    },
  }),
  defineRule({
    id: "TRT-3",
    severity: "reject",
    capability: "limits.importer",
    claim:
      "Attention and its mask are four-dimensional, without past, softcap, softmax_precision and second outputs; Resize is nearest or linear, without antialias; the opset is one the importer knows",
    source: IMPORTER,
    runtime: VERSION,
    confirmed: false,
    of: (t) => t.limits.importer,
    *find(view, { attentionRank, resize }, target) {
      if (view.opset > target.opset.max)
        yield { node: null, why: `opset ${view.opset} is newer than ${target.opset.max}` };
      yield* placed(resizeProblems(view, resize), "leaves");
      for (const node of view.nodes) {
        if (opKey(node) !== "Attention") continue;
        const bad = (why: string): Finding => ({ node, why: `Attention ${why}`, places: "leaves" });
        const rank = view.shape(node.inputs[0])?.length;
        if (rank !== undefined && rank !== attentionRank)
          yield bad(`has inputs of rank ${rank}, taken are ${attentionRank}`);
        const mask = view.shape(node.inputs[3])?.length;
        if (mask !== undefined && mask !== attentionRank)
          yield bad(`has a mask of rank ${mask}, taken are ${attentionRank}`);
        if (view.attr(node, "softmax_precision") !== undefined) yield bad("asks for a softmax_precision");
        if (node.inputs.slice(4).some((i) => i !== null)) yield bad("has a past");
        if (node.outputs.slice(1).some((o) => o !== null)) yield bad("has more than one output");
        const softcap = view.attr(node, "softcap");
        if (softcap?.kind === "float" && softcap.value !== 0) yield bad("has a softcap");
      }
    },
  }),
  defineRule({
    id: "TRT-4",
    severity: "slow",
    capability: "limits.inputPairs",
    claim:
      "conversions stand on the inputs of convolutions and products, residual branches are quantized too, and one family of 8-bit types is used",
    source: DOCS,
    runtime: VERSION,
    confirmed: false,
    of: (t) => t.limits.inputPairs,
    *find(view, { operators }) {
      for (const node of view.nodes) {
        if (!operators.includes(opKey(node))) continue;
        const fed = [0, 1].map((i) => dequantized(view, node, i) !== null);
        if (quantizers(view, node).length > 0 && !fed[0])
          yield { node, why: "its output is quantized while its input is not", places: "float" };
        const adds = view.readers(node.outputs[0]).filter((n) => opKey(n) === "Add");
        for (const add of fed.every(Boolean) ? adds : []) {
          const branch = add.inputs.find((i) => i !== node.outputs[0]);
          if (branch === undefined || view.isKnown(branch) || isDequantize(view.producer(branch))) continue;
          const other = view.producer(branch);
          if (other !== undefined && operators.includes(opKey(other))) continue;
          yield {
            node: add,
            why: `the residual branch added to "${node.name}" is not quantized, so the sum is a kernel of its own`,
          };
        }
      }
      const found = families(view);
      if (found.size > 1)
        yield { node: [...found.values()][1]!, why: `the model mixes ${[...found.keys()].join(" and ")}` };
    },
  }),
  defineRule({
    id: "TRT-5",
    severity: "slow",
    capability: "limits.productOnlyTypes",
    claim: "fp8 and fp4 stand around matrix products only",
    source: "NVIDIA TensorRT-RTX documentation, quantized types",
    runtime: "TensorRT-RTX",
    confirmed: false,
    of: (t) => t.limits.productOnlyTypes,
    *find(view, types) {
      for (const node of view.nodes) {
        if (["MatMul", "Gemm"].includes(opKey(node)) || isPair(node)) continue;
        const fed = node.inputs.map((_, i) => dequantized(view, node, i)).filter((d) => d !== null);
        const type = fed.map((d) => gridType(view, d)).find((t) => types.includes(t));
        if (type !== undefined && ["Conv", "ConvTranspose"].includes(opKey(node)))
          yield { node, why: `${type} is taken by matrix products only`, places: "float" };
      }
    },
  }),
  defineRule({
    id: "TRT-6",
    severity: "slow",
    capability: "sparsity.fast",
    claim:
      "weights with half of their elements zero have two zeros in every aligned four along their inputs, whose number is a multiple of 4",
    source: "NVIDIA TensorRT developer guide; Polygraphy's sparsity checker",
    runtime: "TensorRT on Ampere and later",
    confirmed: false,
    of: (t) => (t.sparsity.fast.includes("2:4") ? true : null),
    find: brokenSparsity,
  }),
  defineRule({
    id: "TRT-7",
    severity: "reject",
    capability: "limits.importer",
    claim:
      "axes of Slice, Squeeze, Unsqueeze and reductions are constants, and LayerNormalization has one output",
    source: IMPORTER,
    runtime: VERSION,
    confirmed: false,
    of: (t) => t.limits.importer,
    *find(view, { constants }) {
      yield* placed(computedArguments(view, constants), "leaves");
      for (const node of view.nodes)
        if (opKey(node) === "LayerNormalization" && node.outputs.slice(1).some((o) => o !== null))
          yield { node, why: "LayerNormalization has more than one output", places: "leaves" };
    },
  }),
];
