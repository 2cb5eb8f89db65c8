import { DTYPES, elementCount } from "../../ir/dtype.ts";
import { intAttr, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { i64Tensor, type Tensor } from "../../ir/tensor.ts";
import type { ScaleType } from "../../numeric/quantize/grid.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { dequantizeTensor } from "../../runtime/kernels/dequantize.ts";
import { type FitTensorOptions, type FitTensors, fitTensor } from "../../runtime/kernels/fit-weight.ts";
import type { Search } from "../../runtime/kernels/quantize.ts";
import { quantizeChannel } from "../../runtime/kernels/quantize-channel.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";

/** How finely and with which search a weight is quantized. */
export interface WeightGrid {
  readonly bits: 2 | 4 | 8;
  readonly block: number;
  readonly symmetric: boolean;
  readonly search: Search;
  /** How integers are found where not by rounding each weight for itself. */
  readonly fit: WeightFit | null;
}

/** A method that looks at a whole matrix; see `src/runtime/kernels/fit-weight.ts`. */
export type WeightFit = Pick<
  FitTensorOptions,
  "method" | "damp" | "actOrder" | "rounds" | "rank" | "sparse" | "gram" | "mean"
>;

/** A float weight, which axis counts output channels, and which one is summed over. */
export interface WeightShape {
  readonly tensor: Tensor;
  readonly outAxis: number;
  readonly inAxis: number;
}

/** The floats that a weight of this shape, treated in the same way, stands for afterwards. */
export type Restore = (w: WeightShape) => Tensor;

/** What became of a weight: what is stored, and how to tell what those bytes stand for. */
export interface StoredWeight {
  readonly stored: readonly Tensor[];
  readonly restore: Restore;
  /** What a method that looks at the whole matrix found, its own error included. */
  readonly fitted: Fitted | null;
}

/** What every fit tells of itself. */
export type Fitted = Pick<FitTensors, "correction" | "figures">;

/** A weight in its new form and the float value that layers read. */
export interface SpelledWeight extends StoredWeight {
  readonly value: ValueId;
}

const F32 = intAttr(DTYPES.f32.onnx);

/** A tensor stored narrow and widened by a Cast, which runtimes fold when they load the model. */
export function storedNarrow(patch: PatchBuilder, stored: Tensor, name: string): ValueId {
  const id = patch.constant(stored, name);
  return patch.node({ op: "Cast", name: `${name}/f32`, inputs: [id], attrs: { to: F32 } })[0];
}

/** A weight kept in a narrower float type. */
export function narrowFloat(
  patch: PatchBuilder,
  tensor: Tensor,
  dtype: "f16" | "bf16",
  name: string,
): SpelledWeight {
  const narrow = (t: Tensor): Tensor => castTensor(t, dtype, { overflow: "saturate" });
  const stored = narrow(tensor);
  return {
    value: storedNarrow(patch, stored, `${name}.${dtype}`),
    stored: [stored],
    restore: (w) => castTensor(narrow(w.tensor), "f32"),
    fitted: null,
  };
}

/** Axis lengths of 1 except one, so that a per-channel vector broadcasts over the weight. */
export function alongAxis(rank: number, axis: number, length: number): number[] {
  return Array.from({ length: rank }, (_, i) => (i === axis ? length : 1));
}

/** A weight as a matrix with one axis of outputs and one of everything summed; `null` where the outputs lie between. */
export function flattened(w: WeightShape): { flat: Tensor; axis: 0 | 1 } | null {
  const { dims } = w.tensor;
  if (dims.length === 2) return { flat: w.tensor, axis: w.inAxis === 0 ? 0 : 1 };
  if (w.outAxis !== 0) return null;
  return { flat: reshapeTensor(w.tensor, [dims[0]!, elementCount(dims.slice(1))]), axis: 1 };
}

/** Whether methods that look at the whole matrix apply to a weight of this shape. */
export function fittable(w: WeightShape): boolean {
  return flattened(w) !== null;
}

/** Integers, scales and zero points of a whole matrix with `block` inputs to a scale. */
export function fittedParts(
  w: WeightShape,
  grid: WeightGrid,
  fit: WeightFit,
  block: number,
  scaleType: ScaleType,
) {
  const { flat, axis } = flattened(w)!;
  const { bits, search, symmetric } = grid;
  return fitTensor(flat, {
    ...fit,
    order: axis === 0 ? "KN" : "NK",
    packing: "axis",
    bits,
    block,
    symmetric,
    search,
    scaleType,
  });
}

interface ChannelParts {
  readonly data: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor | null;
  readonly fitted: FitTensors | null;
}

function channelParts(w: WeightShape, grid: WeightGrid): ChannelParts {
  const { bits, search, symmetric, fit } = grid;
  const matrix = fit === null ? null : flattened(w);
  if (fit === null || matrix === null) {
    const q = quantizeChannel(w.tensor, { axis: w.outAxis, bits, search, symmetric });
    return { ...q, zeroPoint: symmetric ? null : q.zeroPoint, fitted: null };
  }
  const fitted = fittedParts(w, grid, fit, matrix.flat.dims[matrix.axis]!, "f32");
  const along = [w.tensor.dims[w.outAxis]!];
  return {
    data: reshapeTensor(fitted.data, w.tensor.dims),
    scale: reshapeTensor(fitted.scale, along),
    zeroPoint: fitted.zero === null ? null : reshapeTensor(fitted.zero, along),
    fitted,
  };
}

/** The weight with its low-rank branch added; both are constants, so runtimes add them when they load the model. */
export function withBranch(
  patch: PatchBuilder,
  value: ValueId,
  branch: FitTensors["branch"] | undefined,
  dims: readonly number[],
  name: string,
): { value: ValueId; stored: Tensor[] } {
  if (branch === null || branch === undefined) return { value, stored: [] };
  const stored = [branch.first, branch.second];
  const inputs = stored.map((t, i) => storedNarrow(patch, t, `${name}.${"ab"[i]}`));
  let [low] = patch.node({ op: "MatMul", name: `${name}/low`, inputs });
  if (dims.length !== 2) {
    const shape = patch.constant(i64Tensor(dims), `${name}.to`);
    [low] = patch.node({ op: "Reshape", name: `${name}/low_w`, inputs: [low, shape] });
  }
  return { value: patch.node({ op: "Add", name: `${name}/sum`, inputs: [value, low] })[0], stored };
}

function restoredChannels(grid: WeightGrid): Restore {
  return (w) => dequantizeTensor(channelParts(w, { ...grid, fit: null }), { axis: w.outAxis });
}

/** Integers and one scale per output channel, behind a DequantizeLinear that runs with the layer. */
export function dequantizeChannel(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
): SpelledWeight {
  const q = channelParts(w, grid);
  const stored = [q.data, q.scale, ...(q.zeroPoint === null ? [] : [q.zeroPoint])];
  const inputs = stored.map((t, i) => patch.constant(t, `${name}.${["q", "s", "z"][i]}`));
  const [value] = patch.node({
    op: "DequantizeLinear",
    name: `${name}/dq`,
    inputs,
    attrs: { axis: intAttr(w.outAxis) },
  });
  const whole = withBranch(patch, value, q.fitted?.branch, w.tensor.dims, name);
  return {
    value: whole.value,
    stored: [...stored, ...whole.stored],
    restore: restoredChannels(grid),
    fitted: q.fitted,
  };
}

/** (q - z) · s in operators that runtimes fold at load; `z` and `s` broadcast over `q`. */
export function foldable(
  patch: PatchBuilder,
  name: string,
  q: Tensor,
  s: Tensor,
  z: Tensor | null,
): { value: ValueId; stored: Tensor[] } {
  const data = storedNarrow(patch, q, `${name}.q`);
  const centred =
    z === null
      ? data
      : patch.node({
          op: "Sub",
          name: `${name}/centred`,
          inputs: [data, storedNarrow(patch, z, `${name}.z`)],
        })[0];
  const scale = s.dtype === "f32" ? patch.constant(s, `${name}.s`) : storedNarrow(patch, s, `${name}.s`);
  const [value] = patch.node({ op: "Mul", name: `${name}/dq`, inputs: [centred, scale] });
  return { value, stored: z === null ? [q, s] : [q, s, z] };
}

/** Integers and one scale per output channel, widened when the model loads. */
export function foldChannel(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
): SpelledWeight {
  const q = channelParts(w, grid);
  const { dims } = w.tensor;
  const along = alongAxis(dims.length, w.outAxis, dims[w.outAxis]!);
  const z = q.zeroPoint === null ? null : reshapeTensor(q.zeroPoint, along);
  const made = foldable(patch, name, q.data, reshapeTensor(q.scale, along), z);
  const whole = withBranch(patch, made.value, q.fitted?.branch, dims, name);
  return {
    value: whole.value,
    stored: [...made.stored, ...whole.stored],
    restore: restoredChannels(grid),
    fitted: q.fitted,
  };
}
