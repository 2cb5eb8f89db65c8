import { intAttr } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { dequantizeTensor } from "../../runtime/kernels/dequantize.ts";
import { quantizeGroups } from "../../runtime/kernels/quantize-groups.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import {
  dequantizeChannel,
  fittedParts,
  flattened,
  foldable,
  foldChannel,
  type Restore,
  type SpelledWeight,
  storedNarrow,
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
function blockParts(w: WeightShape, grid: WeightGrid) {
  const matrix = flattened(w);
  if (matrix === null) return null;
  const { flat, axis } = matrix;
  const length = flat.dims[axis]!;
  const block = blockOf(length, grid.block);
  if (block === null) return null;
  const { bits, search, symmetric, fit } = grid;
  const place = { flat, axis, block, blocks: length / block };
  if (fit !== null) {
    const fitted = fittedParts(w, grid, fit, block, "f16");
    return { data: fitted.data, scale: fitted.scale, zeroPoint: fitted.zero, fitted, ...place };
  }
  const q = quantizeGroups(flat, { axis, blockSize: block, bits, search, symmetric, scaleType: "f16" });
  return { ...q, zeroPoint: symmetric ? null : q.zeroPoint, fitted: null, ...place };
}

type BlockParts = NonNullable<ReturnType<typeof blockParts>>;

/** Writes what `make` makes of the integers as the whole weight: in its own shape, with its low-rank branch. */
function inBlocks(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  o: {
    readonly name: string;
    readonly q: BlockParts;
    readonly made: Pick<SpelledWeight, "value" | "stored">;
    /** Shape of the value that was made. */
    readonly dims: readonly number[];
  },
): SpelledWeight {
  const { name, q, made } = o;
  const { dims } = w.tensor;
  let { value } = made;
  if (o.dims.length !== dims.length) {
    const shape = patch.constant(i64Tensor(dims), `${name}.dims`);
    [value] = patch.node({ op: "Reshape", name: `${name}/w`, inputs: [made.value, shape] });
  }
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
  const parted = (size: number): number[] =>
    q.axis === 0 ? [q.blocks, size, q.flat.dims[1]!] : [q.flat.dims[0]!, q.blocks, size];
  const z = q.zeroPoint === null ? null : reshapeTensor(q.zeroPoint, parted(1));
  const data = reshapeTensor(q.data, parted(q.block));
  const made = foldable(patch, name, data, reshapeTensor(q.scale, parted(1)), z);
  return inBlocks(patch, w, grid, { name, q, made, dims: data.dims });
}

/**
 * The same integers and scales behind a DequantizeLinear with `block_size` (opset 21), for targets that fold it or have
 * packed products of their own: a matrix is read right behind it.
 */
export function dequantizeBlock(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
): SpelledWeight {
  const q = blockParts(w, grid);
  if (q === null) return dequantizeChannel(patch, w, grid, name);
  // Scales of half precision would round the weights to it.
  const inputs = [patch.constant(q.data, `${name}.q`), storedNarrow(patch, q.scale, `${name}.s`)];
  if (q.zeroPoint !== null) inputs.push(patch.constant(q.zeroPoint, `${name}.z`));
  const [value] = patch.node({
    op: "DequantizeLinear",
    name: `${name}/dq`,
    inputs,
    attrs: { axis: intAttr(q.axis), block_size: intAttr(q.block) },
  });
  const stored = [q.data, q.scale, ...(q.zeroPoint === null ? [] : [q.zeroPoint])];
  return inBlocks(patch, w, grid, { name, q, made: { value, stored }, dims: q.flat.dims });
}
