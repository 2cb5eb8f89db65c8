import { intAttr } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import type { ScaleType } from "../../numeric/quantize/grid.ts";
import { dequantizeTensor } from "../../runtime/kernels/dequantize.ts";
import { quantizeGroups } from "../../runtime/kernels/quantize-groups.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import {
  fittedParts,
  flattened,
  foldable,
  foldChannel,
  type Restore,
  type SpelledWeight,
  type WeightGrid,
  type WeightShape,
  withBranch,
} from "./weights.ts";

/** Smallest block a scale is spent on. */
const SMALLEST_BLOCK = 16;

/** The largest power of two up to `wanted` that divides `length`; `null` below {@link SMALLEST_BLOCK}. */
function blockOf(length: number, wanted: number): number | null {
  for (let b = 2 ** Math.floor(Math.log2(wanted)); b >= SMALLEST_BLOCK; b /= 2)
    if (length % b === 0) return b;
  return null;
}

/** A weight cut into blocks of its summed elements; `null` where no block divides their number. */
function blockParts(w: WeightShape, grid: WeightGrid, scaleType: ScaleType = "f16") {
  const matrix = flattened(w);
  if (matrix === null) return null;
  const { flat, axis } = matrix;
  const length = flat.dims[axis]!;
  const block = blockOf(length, grid.block);
  if (block === null) return null;
  const { bits, search, symmetric, fit } = grid;
  const place = { flat, axis, block, blocks: length / block };
  if (fit !== null) {
    const fitted = fittedParts(w, grid, fit, block, scaleType);
    return { data: fitted.data, scale: fitted.scale, zeroPoint: fitted.zero, fitted, ...place };
  }
  const q = quantizeGroups(flat, { axis, blockSize: block, bits, search, symmetric, scaleType });
  return { ...q, zeroPoint: symmetric ? null : q.zeroPoint, fitted: null, ...place };
}

/**
 * Integers with one half-precision scale per block of summed elements, widened when the model loads. Matrices are cut
 * along their input axis; weights with the output axis in front along everything behind it. Per channel where no block
 * divides the length.
 */
export function foldBlock(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
): SpelledWeight {
  const q = blockParts(w, grid);
  if (q === null) return foldChannel(patch, w, grid, name);
  const { dims } = w.tensor;
  const parted = (size: number): number[] =>
    q.axis === 0 ? [q.blocks, size, q.flat.dims[1]!] : [q.flat.dims[0]!, q.blocks, size];
  const z = q.zeroPoint === null ? null : reshapeTensor(q.zeroPoint, parted(1));
  const made = foldable(
    patch,
    name,
    reshapeTensor(q.data, parted(q.block)),
    reshapeTensor(q.scale, parted(1)),
    z,
  );
  const shape = patch.constant(i64Tensor(dims), `${name}.dims`);
  const [value] = patch.node({ op: "Reshape", name: `${name}/w`, inputs: [made.value, shape] });
  const restore: Restore = (v) => {
    const p = blockParts(v, { ...grid, fit: null })!;
    return reshapeTensor(
      dequantizeTensor(p, { axis: p.axis, blockSize: p.block, dtype: "f32" }),
      v.tensor.dims,
    );
  };
  const whole = withBranch(patch, value, q.fitted?.branch, dims, name);
  return {
    value: whole.value,
    stored: [...made.stored, ...whole.stored],
    restore,
    fitted: q.fitted,
  };
}

/**
 * Integers and one scale per block of summed elements, behind a DequantizeLinear with `block_size` (opset 21): what
 * compilers with packed products of their own read. Matrices only, cut along their input axis; others, and lengths no
 * block divides, as {@link foldBlock}. Scales are fp32; symmetric integers have no zero points.
 */
export function dequantizeBlock(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
): SpelledWeight {
  const q = w.tensor.dims.length === 2 ? blockParts(w, grid, "f32") : null;
  if (q === null) return foldBlock(patch, w, grid, name);
  const stored = [q.data, q.scale, ...(q.zeroPoint === null ? [] : [q.zeroPoint])];
  const inputs = stored.map((t, i) => patch.constant(t, `${name}.${["q", "s", "z"][i]}`));
  const attrs = { axis: intAttr(q.axis), block_size: intAttr(q.block) };
  const [value] = patch.node({ op: "DequantizeLinear", name: `${name}/dq`, inputs, attrs });
  const whole = withBranch(patch, value, q.fitted?.branch, w.tensor.dims, name);
  return {
    value: whole.value,
    stored: [...stored, ...whole.stored],
    restore: (v) => {
      const p = blockParts(v, { ...grid, fit: null }, "f32")!;
      return dequantizeTensor(p, { axis: p.axis, blockSize: p.block, dtype: "f32" });
    },
    fitted: q.fitted,
  };
}
