import { intAttr } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { NVFP4_BLOCK } from "../../numeric/quantize/float-grid.ts";
import { dequantizeNvfp4, quantizeNvfp4 } from "../../runtime/kernels/nvfp4.ts";
import type { SpelledWeight, WeightShape } from "./weights.ts";

/** Why a weight is not stored in NVFP4; `null` when it can be. */
export function misfitsNvfp4(w: WeightShape): string | null {
  const { dims } = w.tensor;
  if (dims.length !== 2) return "4-bit floats are for matrices";
  const [length, last] = [dims[w.inAxis]!, dims[1]!];
  if (length % NVFP4_BLOCK !== 0) return `it sums ${length} elements, which is no multiple of ${NVFP4_BLOCK}`;
  return last % 2 === 0 ? null : `its last dimension is ${last}, and two 4-bit floats share a byte`;
}

/**
 * A matrix as E2M1 numbers in blocks of 16 along the summed axis, behind a DequantizeLinear whose scales are E4M3FN
 * behind another one with a single float32 scale (NVFP4, opset 23). The weight must fit: see {@link misfitsNvfp4}.
 */
export function dequantizeTwice(patch: PatchBuilder, w: WeightShape, name: string): SpelledWeight {
  const axis = w.inAxis === 0 ? 0 : 1;
  const q = quantizeNvfp4(w.tensor, axis);
  const [scale] = patch.node({
    op: "DequantizeLinear",
    name: `${name}/scale`,
    inputs: [patch.constant(q.scale, `${name}.s`), patch.constant(q.global, `${name}.g`)],
  });
  const [value] = patch.node({
    op: "DequantizeLinear",
    name: `${name}/dq`,
    inputs: [patch.constant(q.data, `${name}.q`), scale],
    attrs: { axis: intAttr(axis), block_size: intAttr(NVFP4_BLOCK) },
  });
  return {
    value,
    stored: [q.data, q.scale, q.global],
    restore: (v) => dequantizeNvfp4(quantizeNvfp4(v.tensor, axis), axis),
    fitted: null,
  };
}
