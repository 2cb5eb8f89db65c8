import { type Node, opKey, type ValueId } from "../../../ir/graph.ts";
import { LARGEST_PAIR } from "../../../numeric/quantize/saturation.ts";
import { packedAttention, placed } from "../forms.ts";
import { dequantized, gridType, isClosed, isDequantize, isQuantize, quantizers } from "../pairs.ts";
import { defineRule, type Finding, type Rule } from "../types.ts";
import type { CheckView } from "../view.ts";

const ORT = "onnxruntime-node 1.30.0, CPU provider";
const PROBED = "probed on the CPU provider";
const ORT_NBITS = "com.microsoft:MatMulNBits";

interface IntegerWeight {
  readonly node: Node;
  readonly weight: ValueId;
}

/** Input of the weight of operators on integers. */
const WEIGHT_INPUT: Readonly<Record<string, number>> = {
  QLinearConv: 3,
  QLinearMatMul: 3,
  MatMulInteger: 1,
  ConvInteger: 1,
  "com.microsoft:MatMulIntegerToFloat": 1,
  "com.microsoft:DynamicQuantizeMatMul": 1,
  "com.microsoft:QGemm": 3,
};

/** Signed 8-bit weights that meet 8-bit activations in an integer kernel. */
function* signedWeights(view: CheckView): Generator<IntegerWeight> {
  for (const node of view.nodes) {
    const direct = WEIGHT_INPUT[opKey(node)];
    let weight = direct === undefined ? undefined : node.inputs[direct];
    if (["Conv", "MatMul", "Gemm"].includes(opKey(node)) && dequantized(view, node, 0) !== null)
      weight = dequantized(view, node, 1)?.inputs[0];
    if (weight !== undefined && weight !== null && view.dtype(weight) === "i8") yield { node, weight };
  }
}

/** Strides of a weight in the order kernels sum it: outputs, then taps, then input channels. */
function sums(
  view: CheckView,
  { node, weight }: IntegerWeight,
): { rows: number; length: number; at(row: number, k: number): number } | null {
  const dims = view.constant(weight)?.dims;
  if (dims === undefined || dims.length < 2) return null;
  if (/Conv/.test(node.op)) {
    const [m, c] = [dims[0]!, dims[1]!];
    const taps = dims.slice(2).reduce((a, b) => a * b, 1);
    return { rows: m, length: c * taps, at: (row, k) => row * c * taps + (k % c) * taps + Math.floor(k / c) };
  }
  const transposed = view.int(node, "transB", 0) !== 0;
  const [k, n] = transposed ? [dims[1]!, dims[0]!] : [dims[dims.length - 2]!, dims[dims.length - 1]!];
  return { rows: n, length: k, at: (row, i) => (transposed ? row * k + i : i * n + row) };
}

/** Whether two neighbours of one sign can add up beyond 16 bits with some activation. */
function saturates(view: CheckView, found: IntegerWeight): boolean {
  const q = view.numbers(found.weight);
  const order = sums(view, found);
  if (q === null || order === null) return false;
  for (let row = 0; row < order.rows; row++)
    for (let k = 0; k < order.length; k += 2) {
      const a = q[order.at(row, k)]!;
      const b = k + 1 < order.length ? q[order.at(row, k + 1)]! : 0;
      if (Math.max(a, 0) + Math.max(b, 0) > LARGEST_PAIR || Math.max(-a, 0) + Math.max(-b, 0) > LARGEST_PAIR)
        return true;
    }
  return false;
}

const blockSize = (view: CheckView, node: Node | null): number =>
  node === null ? 0 : view.int(node, "block_size", 0);

/** Products of a float with a weight quantized in blocks. */
function* blockProducts(view: CheckView): Generator<{ node: Node; weight: Node }> {
  for (const node of view.nodes) {
    if (!["MatMul", "Gemm"].includes(opKey(node))) continue;
    const weight = dequantized(view, node, 1);
    if (
      weight !== null &&
      blockSize(view, weight) > 0 &&
      view.isKnown(weight.inputs[0]) &&
      dequantized(view, node, 0) === null
    )
      yield { node, weight };
  }
}

/** Why a block-quantized weight is not packed by the runtime; `null` when it is. */
function whyUnpacked(view: CheckView, weight: Node): string | null {
  const rank = view.shape(weight.inputs[0])?.length ?? 2;
  const axis = view.int(weight, "axis", 1);
  if (view.readers(weight.outputs[0]).length > 1) return "several products share its conversion";
  if (rank !== 2) return `its weight has rank ${rank}`;
  return axis === 0 || axis === -2 ? null : "its blocks lie along the outputs";
}

function* openUnits(view: CheckView, activations: readonly string[]): Generator<Finding> {
  for (const node of view.nodes) {
    if (!["Conv", "MatMul", "Gemm"].includes(opKey(node))) continue;
    const [x, w] = [dequantized(view, node, 0), dequantized(view, node, 1)];
    if (x === null || w === null) continue;
    const float = (why: string): Finding => ({ node, why, places: "float" });
    const type = gridType(view, x);
    const behind = quantizers(view, node);
    if (node.op === "Conv" && !isClosed(view, node)) {
      yield float("its output is not quantized, so the convolution runs in float");
      continue;
    }
    const adds = view
      .readers(node.outputs[0])
      .filter(
        (n) => opKey(n) === "Add" && n.inputs.some((i) => i !== node.outputs[0] && view.constant(i) !== null),
      );
    const open = adds.find((a) => !isClosed(view, a));
    if (node.op === "MatMul" && open !== undefined)
      yield float(`"${open.name}" adds a constant and is not quantized, so the product runs in float`);
    const other = behind.find((q) => gridType(view, q) !== type);
    if (other !== undefined) yield float(`it reads ${type} and writes ${gridType(view, other)}`);
    if (type === "i8" && !activations.includes(type) && sharedSource(view, x))
      yield float(
        "its signed activation has several readers, which keeps the runtime from rewriting it to u8",
      );
  }
}

/** Whether the quantized value behind a conversion has several conversions or readers. */
function sharedSource(view: CheckView, x: Node): boolean {
  return view.readers(x.outputs[0]).length > 1 || view.readers(x.inputs[0]).length > 1;
}

/** Rules of the CPU provider's integer kernels. */
export const cpuRules: readonly Rule[] = [
  defineRule({
    id: "CPU-1",
    severity: "numeric",
    capability: "integer.saturates",
    claim:
      "no two neighbouring weights of one sign add up to more than 128, or weights are unsigned around 128",
    source: `${PROBED}; MLAS kernels of 2026-03`,
    runtime: ORT,
    confirmed: true,
    of: (t) => (t.integer?.saturates ? true : null),
    *find(view) {
      for (const found of signedWeights(view))
        if (saturates(view, found))
          yield {
            node: found.node,
            why: "neighbouring products can exceed 16 bits without VNNI; narrow the weights or set session.x64quantprecision",
          };
    },
  }),
  defineRule({
    id: "CPU-2",
    severity: "slow",
    capability: "limits.closedUnits",
    claim:
      "convolutions have a quantized output, products with a bias too, of the type of their input, which is u8 where it has several readers",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.closedUnits,
    find: (view, { activations }) => openUnits(view, activations),
  }),
  defineRule({
    id: "CPU-3",
    severity: "slow",
    capability: "limits.unfused",
    claim:
      "no 16-bit conversions, no 4-bit convolution weights, no integer convolution with scales found at run time",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.unfused,
    *find(view, { bits, operators }) {
      for (const node of view.nodes) {
        const type = isQuantize(node) || isDequantize(node) ? gridType(view, node) : null;
        if (bits.includes(16) && (type === "u16" || type === "i16"))
          yield { node, why: `conversions of ${type} are not fused`, places: "float" };
        const weight = opKey(node) === "Conv" ? dequantized(view, node, 1) : null;
        if (bits.includes(4) && weight !== null && /^[iu]4$/.test(gridType(view, weight)))
          yield { node, why: "convolutions with 4-bit weights run in float", places: "float" };
        if (operators.includes(node.op))
          yield { node, why: `${node.op} is slower than the float convolution` };
      }
    },
  }),
  defineRule({
    id: "CPU-4",
    severity: "reject",
    capability: "limits.noKernelTypes",
    claim:
      "nothing computes in bfloat16 or reads fp4, and there are no operators or packed forms without a kernel",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) =>
      t.limits.noKernelTypes === undefined
        ? null
        : {
            types: t.limits.noKernelTypes,
            operators: t.limits.noKernel ?? [],
            packed: t.limits.packedAttention !== false,
          },
    *find(view, { types, operators, packed }) {
      const moves = new Set([
        "Cast",
        "Identity",
        "Reshape",
        "Transpose",
        "Concat",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "Gather",
        "Split",
        "Flatten",
        "Expand",
        "Shape",
      ]);
      for (const node of view.nodes) {
        if (operators.includes(opKey(node)))
          yield { node, why: `there is no kernel for ${opKey(node)}`, places: "leaves" };
        if (moves.has(node.op)) continue;
        const type = node.inputs.map((i) => view.dtype(i)).find((d) => d !== null && types.includes(d));
        if (type !== undefined)
          yield { node, why: `there is no kernel for ${opKey(node)} of ${type}`, places: "leaves" };
      }
      if (!packed) yield* placed(packedAttention(view), "leaves");
    },
  }),
  defineRule({
    id: "CPU-5",
    severity: "numeric",
    capability: "limits.blockDequantize",
    claim: "weights in blocks are written as MatMulNBits with the accuracy level that is meant",
    source: `${PROBED}: session.qdq_matmulnbits_accuracy_level is 4 unless set, which quantizes activations`,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.blockDequantize,
    *find(view, { accuracyLevel }) {
      for (const { node, weight } of blockProducts(view))
        if (whyUnpacked(view, weight) === null)
          yield {
            node,
            why: `it becomes MatMulNBits of accuracy level ${accuracyLevel}, which rounds activations to 8 bits`,
          };
    },
  }),
  defineRule({
    id: "CPU-6",
    severity: "slow",
    capability: "limits.blockDequantize",
    claim: "weights in blocks are matrices with blocks along the summed axis and a conversion of their own",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.blockDequantize,
    *find(view) {
      for (const { node, weight } of blockProducts(view)) {
        const why = whyUnpacked(view, weight);
        if (why !== null) yield { node, why: `${why}, so it is dequantized on every run`, places: "float" };
      }
    },
  }),
  defineRule({
    id: "CPU-7",
    severity: "reject",
    capability: "limits.floatZeroPoints",
    claim: "MatMulNBits of 8 bits has no zero points in float",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.floatZeroPoints,
    *find(view, { notAt }) {
      for (const node of view.nodes)
        if (
          opKey(node) === ORT_NBITS &&
          notAt.includes(view.int(node, "bits", 4)) &&
          view.dtype(node.inputs[3]) === "f32"
        )
          yield { node, why: `float zero points are not implemented at ${view.int(node, "bits", 4)} bits` };
    },
  }),
];
