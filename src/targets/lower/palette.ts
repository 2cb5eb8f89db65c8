import { DTYPES, elementCount } from "../../ir/dtype.ts";
import { intAttr } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { inlineTensor, type Tensor } from "../../ir/tensor.ts";
import { codebooksOf } from "../../numeric/quantize/fit-palette.ts";
import { paletteTensor } from "../../runtime/kernels/fit-palette.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import {
  alongAxis,
  flattened,
  type SpelledWeight,
  storedNarrow,
  type WeightFit,
  type WeightShape,
} from "./weights.ts";

/** How finely a weight is clustered. */
export interface PaletteSettings {
  readonly bits: 2 | 4 | 8;
  readonly fit: WeightFit;
  /** Output and input channels that share a codebook; 0 stands for all. */
  readonly outputs: number;
  readonly inputs: number;
}

/** Channels that share a codebook, none when it is all of them anyway. */
const grouped = (channels: number, of: number): number => (channels >= of ? 0 : channels);

/** Bytes of the codebooks of a weight where it has several; 0 for one. */
export function codebookBytes(
  w: WeightShape,
  o: Pick<PaletteSettings, "bits" | "outputs" | "inputs">,
): number {
  const [rows, channels] = [w.tensor.dims[w.outAxis]!, w.tensor.dims[w.inAxis]!];
  const books = codebooksOf(
    { rows, columns: channels },
    { rows: grouped(o.outputs, rows), columns: grouped(o.inputs, channels) },
  );
  return books === 1 ? 0 : books * 2 ** o.bits * 2;
}

/** Where the codebooks along an axis start, so that it broadcasts over the weight; `null` where all share one. */
function offsets(dims: readonly number[], axis: number, channels: number, step: number): Tensor | null {
  const length = dims[axis]!;
  if (channels === 0 || channels >= length) return null;
  const starts = Int32Array.from({ length }, (_, i) => Math.floor(i / channels) * step);
  return inlineTensor("i32", alongAxis(dims.length, axis, length), new Uint8Array(starts.buffer));
}

/**
 * Codebooks looked up by Gather and a scale per output channel, all folded when the model loads: the smallest form of a
 * weight on disk, float in memory. The weight must be {@link fittable}.
 */
export function foldPalette(
  patch: PatchBuilder,
  w: WeightShape,
  options: PaletteSettings,
  name: string,
): SpelledWeight {
  const { flat, axis } = flattened(w)!;
  const { dims } = w.tensor;
  const { damp, actOrder, gram, mean } = options.fit;
  const order = axis === 0 ? "KN" : "NK";
  const { bits, outputs, inputs } = options;
  const [channels, taps] = [dims[w.inAxis]!, elementCount(dims) / (dims[w.inAxis]! * dims[w.outAxis]!)];
  const p = paletteTensor(flat, {
    order,
    bits,
    damp,
    actOrder,
    gram,
    mean,
    groupOutputs: grouped(outputs, dims[w.outAxis]!),
    groupInputs: grouped(inputs, channels) * taps,
  });
  const across = inputs === 0 ? 1 : Math.ceil(channels / inputs);
  const starts = [
    offsets(dims, w.outAxis, outputs, across * 2 ** bits),
    offsets(dims, w.inAxis, inputs, 2 ** bits),
  ].filter((t) => t !== null);
  // Through f32, because a stored weight behind a Cast to a float type is what constant folding leaves alone.
  let [indices] = patch.node({
    op: "Cast",
    name: `${name}/i32`,
    inputs: [storedNarrow(patch, reshapeTensor(p.indices, dims), `${name}.q`)],
    attrs: { to: intAttr(DTYPES.i32.onnx) },
  });
  for (const [i, t] of starts.entries())
    [indices] = patch.node({
      op: "Add",
      name: `${name}/book${i}`,
      inputs: [indices, patch.constant(t, `${name}.o${i}`)],
    });
  const codebook = storedNarrow(patch, p.codebook, `${name}.c`);
  const [unit] = patch.node({ op: "Gather", name: `${name}/look`, inputs: [codebook, indices] });
  const along = alongAxis(dims.length, w.outAxis, dims[w.outAxis]!);
  const scale = storedNarrow(patch, reshapeTensor(p.scale, along), `${name}.s`);
  const [value] = patch.node({ op: "Mul", name: `${name}/dq`, inputs: [unit, scale] });
  return {
    value,
    stored: [p.indices, p.codebook, p.scale, ...starts],
    restore: (v) => v.tensor,
    fitted: { correction: p.correction, figures: p.figures },
  };
}
