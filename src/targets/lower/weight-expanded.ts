import { elementCount } from "../../ir/dtype.ts";
import { intAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { inlineTensor, type Tensor } from "../../ir/tensor.ts";
import { packBits } from "../../numeric/bits.ts";
import { quantizeExpanded } from "../../runtime/kernels/quantize-expanded.ts";

/**
 * A matrix in 4 bits behind a DequantizeLinear with `block_size` (opset 21) whose scales are integers behind a
 * DequantizeLinear per output channel. Compilers that recognise it tell 4 bits by the zero point, so it is written
 * although it is 0.
 */
export function dequantizeExpanded(
  patch: PatchBuilder,
  weight: Tensor,
  o: { readonly inAxis: 0 | 1; readonly block: number; readonly factor: Tensor; readonly name: string },
): ValueId {
  const { inAxis, block, name } = o;
  const q = quantizeExpanded(weight, o);
  const [scale] = patch.node({
    op: "DequantizeLinear",
    name: `${name}/scale`,
    inputs: [patch.constant(q.scale, `${name}.s`), patch.constant(q.unit, `${name}.u`)],
    attrs: { axis: intAttr(1 - inAxis) },
  });
  const zeros = packBits(new Int8Array(elementCount(q.scale.dims)), 4);
  return patch.node({
    op: "DequantizeLinear",
    name: `${name}/dq`,
    inputs: [
      patch.constant(q.data, `${name}.q`),
      scale,
      patch.constant(inlineTensor("i4", q.scale.dims, zeros), "z"),
    ],
    attrs: { axis: intAttr(inAxis), block_size: intAttr(block) },
  })[0];
}
