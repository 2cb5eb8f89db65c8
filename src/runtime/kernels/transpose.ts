import { DTYPES } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { packBits, unpackBits } from "../../numeric/bits.ts";
import { defineKernel, madeBy } from "./kernel.ts";
import { permuteElements } from "./permute.ts";

type Params = { readonly perm: readonly number[] };

/** Axis permutation, as ONNX Transpose. */
export const transposeKernel = defineKernel<Params>({
  name: "transpose",
  version: 1,
  scratch: (_p, inputs) => {
    const t = inputs[0]!;
    return DTYPES[t.dtype].bits < 8 ? 2 * t.dims.reduce((a, b) => a * b, 1) : 0;
  },
  evaluate(p, [x], outputs) {
    const { dtype, dims } = outputs[0]!;
    const { bits } = DTYPES[dtype];
    if (bits >= 8) return [{ dtype, dims, bytes: permuteElements(x!.bytes, bits / 8, x!.dims, p.perm) }];
    const width = bits === 2 ? 2 : 4;
    const count = dims.reduce((a, b) => a * b, 1);
    const moved = permuteElements(unpackBits(x!.bytes, width, count), 1, x!.dims, p.perm);
    return [{ dtype, dims, bytes: packBits(moved, width) }];
  },
});

/**
 * The tensor with permuted axes: axis `i` of the result is axis `perm[i]` of the input; the default reverses them.
 * Permutations of permutations are merged, identities vanish.
 */
export function transposeTensor(
  t: Tensor,
  perm: readonly number[] = t.dims.map((_, i) => t.dims.length - 1 - i),
): Tensor {
  const valid = perm.length === t.dims.length && [...perm].sort((a, b) => a - b).every((p, i) => p === i);
  if (!valid) throw new Error(`[${perm}] is not a permutation of the axes of [${t.dims}]`);
  if (t.source.kind === "strings") throw new Error("cannot transpose strings");
  const before = madeBy(t, transposeKernel);
  // A reshape in between (other dims on the same bytes) keeps the permutations apart.
  if (before !== null && String(before.outputs[0]!.dims) === String(t.dims)) {
    const inner = (before.params as Params).perm;
    const merged = perm.map((p) => inner[p]!);
    return transposeTensor(before.inputs[0]!, merged);
  }
  if (perm.every((p, i) => p === i)) return t;
  return transposeKernel.derive({ perm }, [t], [{ dtype: t.dtype, dims: perm.map((p) => t.dims[p]!) }])[0]!;
}
