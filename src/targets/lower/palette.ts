import { DTYPES } from "../../ir/dtype.ts";
import { intAttr } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
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

/**
 * A codebook looked up by Gather and a scale per output channel, all folded when the model loads: the smallest form of a
 * weight on disk, float in memory. The weight must be {@link fittable}.
 */
export function foldPalette(
  patch: PatchBuilder,
  w: WeightShape,
  options: { readonly bits: 2 | 4 | 8; readonly fit: WeightFit },
  name: string,
): SpelledWeight {
  const { flat, axis } = flattened(w)!;
  const { dims } = w.tensor;
  const { damp, actOrder, gram, mean } = options.fit;
  const order = axis === 0 ? "KN" : "NK";
  const p = paletteTensor(flat, { order, bits: options.bits, damp, actOrder, gram, mean });
  // Through f32, because a stored weight behind a Cast to a float type is what constant folding leaves alone.
  const [indices] = patch.node({
    op: "Cast",
    name: `${name}/i32`,
    inputs: [storedNarrow(patch, reshapeTensor(p.indices, dims), `${name}.q`)],
    attrs: { to: intAttr(DTYPES.i32.onnx) },
  });
  const codebook = storedNarrow(patch, p.codebook, `${name}.c`);
  const [unit] = patch.node({ op: "Gather", name: `${name}/look`, inputs: [codebook, indices] });
  const along = alongAxis(dims.length, w.outAxis, dims[w.outAxis]!);
  const scale = storedNarrow(patch, reshapeTensor(p.scale, along), `${name}.s`);
  const [value] = patch.node({ op: "Mul", name: `${name}/dq`, inputs: [unit, scale] });
  return {
    value,
    stored: [p.indices, p.codebook, p.scale],
    restore: (v) => v.tensor,
    fitted: { correction: p.correction, figures: p.figures },
  };
}
