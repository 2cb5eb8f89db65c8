import { numbersOf } from "../../ir/constants.ts";
import { DTYPES, elementCount } from "../../ir/dtype.ts";
import type { Model, Node, ValueId } from "../../ir/graph.ts";
import { inlineTensor, type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";

/** Constants of a graph that rules compare with: scales, zero points, quantized weights and biases. */
export type Constants = ReadonlyMap<ValueId, ArrayLike<number>>;

/** Bytes read for one check of constants of integer operators, and of float weights; what is beyond is not looked at. */
const READ_BYTES = { integer: 256 << 20, float: 64 << 20 } as const;

/** Elements of a type narrower than a byte, low bits first, row-major without padding of rows. */
function unpacked(bytes: Uint8Array, bits: 2 | 4, signed: boolean, count: number): Int8Array {
  const mask = (1 << bits) - 1;
  const half = 1 << (bits - 1);
  return Int8Array.from({ length: count }, (_, i) => {
    const at = i * bits;
    const raw = (bytes[at >> 3]! >> (at & 7)) & mask;
    return signed && raw >= half ? raw - 2 * half : raw;
  });
}

/**
 * Elements of a constant as numbers. Floats of 8 and 4 bits come as their bit patterns, which is enough to tell zero
 * from what is not.
 */
function elementsOf(tensor: Tensor, bytes: Uint8Array): ArrayLike<number> | null {
  const count = elementCount(tensor.dims);
  const { bits, kind } = DTYPES[tensor.dtype];
  if (kind === "float8" || tensor.dtype === "u8") return bytes;
  if (bits === 2 || bits === 4) return unpacked(bytes, bits, kind === "int", count);
  if (tensor.dtype === "i8") return new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  if (tensor.dtype === "f32") return new Float32Array(bytes.slice().buffer);
  return numbersOf(inlineTensor(tensor.dtype, tensor.dims, bytes), count);
}

const INTEGER_OPS = /^(QLinear|QGemm|MatMulInteger|ConvInteger|Dynamic|Quantize|Dequantize)/;
const PRODUCT_OPS = /^(Conv|ConvTranspose|MatMul|Gemm)$/;

/** Constants a node is read for: every one of integer operators, the weights of products where zeros matter. */
function wanted(
  node: Node,
  weights: boolean,
): { ids: readonly (ValueId | null)[]; budget: keyof typeof READ_BYTES } {
  if (INTEGER_OPS.test(node.op)) return { ids: node.inputs, budget: "integer" };
  return { ids: weights && PRODUCT_OPS.test(node.op) ? node.inputs.slice(1, 2) : [], budget: "float" };
}

/**
 * Reads the constants that rules look at. With `weights`, float weights of products too, for rules about zeros. Without
 * a reader only those at hand are known. Errors: those of the reader.
 */
export async function loadConstants(
  model: Model,
  options: { readonly reader: TensorReader | null; readonly weights: boolean },
): Promise<Constants> {
  const out = new Map<ValueId, ArrayLike<number>>();
  const left: Record<keyof typeof READ_BYTES, number> = { ...READ_BYTES };
  for (const node of model.graph.nodes()) {
    const { ids, budget } = wanted(node, options.weights);
    for (const id of ids) {
      const tensor = model.graph.constant(id);
      if (id === null || tensor === null || out.has(id)) continue;
      const { source } = tensor;
      const size = tensorBytes(tensor);
      if (source.kind !== "inline" && (options.reader === null || size > left[budget])) continue;
      if (source.kind !== "inline") left[budget] -= size;
      const bytes = source.kind === "inline" ? source.bytes : await options.reader!.read(tensor);
      const elements = elementsOf(tensor, bytes);
      if (elements !== null) out.set(id, elements);
    }
  }
  return out;
}
