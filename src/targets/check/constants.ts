import { numbersOf } from "../../ir/constants.ts";
import { DTYPES, elementCount } from "../../ir/dtype.ts";
import type { Model, Node, ValueId } from "../../ir/graph.ts";
import { inlineTensor, type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";

/** Constants of a graph that rules compare with: scales, zero points, quantized weights and biases. */
export type Constants = ReadonlyMap<ValueId, readonly number[]>;

/** Bytes of constants that are read for one check; weights beyond are not looked at. */
const READ_BYTES = 256 << 20;

/** Elements of a type narrower than a byte, low bits first, row-major without padding of rows. */
function unpacked(bytes: Uint8Array, bits: 2 | 4, signed: boolean, count: number): number[] {
  const mask = (1 << bits) - 1;
  const half = 1 << (bits - 1);
  return Array.from({ length: count }, (_, i) => {
    const at = i * bits;
    const raw = (bytes[at >> 3]! >> (at & 7)) & mask;
    return signed && raw >= half ? raw - 2 * half : raw;
  });
}

/**
 * Elements of a constant as numbers. Floats of 8 and 4 bits come as their bit patterns, which is enough to tell zero
 * from what is not.
 */
function elementsOf(tensor: Tensor, bytes: Uint8Array): readonly number[] | null {
  const count = elementCount(tensor.dims);
  const { bits, kind } = DTYPES[tensor.dtype];
  if (bits === 2 || bits === 4) return unpacked(bytes, bits, kind === "int", count);
  if (kind === "float8") return [...bytes];
  return numbersOf(inlineTensor(tensor.dtype, tensor.dims, bytes), count);
}

const INTEGER_OPS = /^(QLinear|QGemm|MatMulInteger|ConvInteger|Dynamic|Quantize|Dequantize)/;

/** Constants a node is read for: every one of integer operators, the weights of products. */
function wanted(node: Node, weights: boolean): readonly (ValueId | null)[] {
  if (INTEGER_OPS.test(node.op)) return node.inputs;
  return weights && /^(Conv|ConvTranspose|MatMul|Gemm)$/.test(node.op) ? node.inputs.slice(1, 2) : [];
}

/**
 * Reads the constants that rules look at. With `weights`, float weights of products too, for rules about zeros. Without
 * a reader only those at hand are known. Errors: those of the reader.
 */
export async function loadConstants(
  model: Model,
  options: { readonly reader: TensorReader | null; readonly weights: boolean },
): Promise<Constants> {
  const out = new Map<ValueId, readonly number[]>();
  let left = READ_BYTES;
  for (const node of model.graph.nodes()) {
    for (const id of wanted(node, options.weights)) {
      const tensor = model.graph.constant(id);
      if (id === null || tensor === null || out.has(id)) continue;
      const { source } = tensor;
      if (source.kind !== "inline" && (options.reader === null || tensorBytes(tensor) > left)) continue;
      if (source.kind !== "inline") left -= tensorBytes(tensor);
      const bytes = source.kind === "inline" ? source.bytes : await options.reader!.read(tensor);
      const elements = elementsOf(tensor, bytes);
      if (elements !== null) out.set(id, elements);
    }
  }
  return out;
}
