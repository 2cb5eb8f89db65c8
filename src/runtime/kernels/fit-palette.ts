import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { codebooksOf, fitPalette } from "../../numeric/quantize/fit-palette.ts";
import { gridOf } from "../../numeric/quantize/grid.ts";
import { encodeFloat, encodeSmallInt } from "./elements.ts";
import { conclusions, type FitInputs, laid, problemParts, sizesOf } from "./fit-inputs.ts";
import { defineKernel, describeType, type KernelType } from "./kernel.ts";
import { requireFloat } from "./quantize.ts";

type Params = FitInputs & {
  readonly bits: 2 | 4 | 8;
  readonly damp: number;
  readonly actOrder: boolean;
  /** Outputs and inputs (taps included) that share a codebook; 0 stands for all. */
  readonly groupOutputs: number;
  readonly groupInputs: number;
};

/** Codebooks of 2^bits half-precision values, an index per weight and a scale per output. */
export const fitPaletteKernel = defineKernel<Params>({
  name: "fit-palette",
  version: 2,
  scratch: (p, [t]) => {
    const { columns } = sizesOf(t!.dims, p.order);
    return 8 * (8 * elementCount(t!.dims) + (p.gram ? 4 * columns * columns : 0));
  },
  evaluate(p, inputs, outputs) {
    const { parts, mean } = problemParts("fit-palette", p, inputs);
    const grid = gridOf({ bits: p.bits, signed: false, symmetric: true });
    const problem = {
      ...parts,
      block: parts.columns,
      options: { grid, search: null, scaleType: "f16" as const },
    };
    const groups = { rows: p.groupOutputs, columns: p.groupInputs };
    const { damp, actOrder } = p;
    const found = fitPalette(problem, 2 ** p.bits, { damp, actOrder, groups });
    const indices = Uint8Array.from(laid(found.indices, parts.rows, parts.columns, p.order));
    const all = [
      encodeFloat("f16", found.codebook),
      encodeSmallInt(outputs[1]!.dtype, indices),
      encodeFloat("f16", found.scale),
      ...conclusions(parts.weights, found, mean),
    ];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** How {@link paletteTensor} clusters a matrix; `gram` and `mean` as for fitting integers. */
export interface PaletteOptions {
  readonly order: "KN" | "NK";
  readonly bits: 2 | 4 | 8;
  readonly damp: number;
  readonly actOrder: boolean;
  /** Outputs and inputs (taps included) that share a codebook; 0 stands for all. */
  readonly groupOutputs: number;
  readonly groupInputs: number;
  readonly gram: Tensor | null;
  readonly mean: Tensor | null;
}

/** A clustered weight: w ≈ codebook of its group [index] · scale of its output. */
export interface PaletteTensors {
  /** f16 [groups · 2^bits], bands of outputs slowest. */
  readonly codebook: Tensor;
  /** Unsigned integers in the shape of the matrix. */
  readonly indices: Tensor;
  /** f16 [out]. */
  readonly scale: Tensor;
  readonly correction: Tensor | null;
  readonly figures: Tensor;
}

/** Clusters a float matrix; see {@link PaletteOptions}. */
export function paletteTensor(t: Tensor, options: PaletteOptions): PaletteTensors {
  requireFloat(t);
  if (t.dims.length !== 2) throw new Error(`a matrix is clustered, not ${describeType(t)}`);
  const { gram, mean, ...rest } = options;
  const { rows, columns } = sizesOf(t.dims, options.order);
  const groups = { rows: options.groupOutputs, columns: options.groupInputs };
  const outputs: KernelType[] = [
    { dtype: "f16", dims: [codebooksOf({ rows, columns }, groups) * 2 ** options.bits] },
    { dtype: `u${options.bits}` as const, dims: t.dims },
    { dtype: "f16", dims: [rows] },
    ...(mean === null ? [] : [{ dtype: "f32" as const, dims: [rows] }]),
    { dtype: "f64", dims: [4] },
  ];
  const inputs = [t, ...(gram === null ? [] : [gram]), ...(mean === null ? [] : [mean])];
  const params: Params = { ...rest, gram: gram !== null, mean: mean !== null };
  const made = fitPaletteKernel.derive(params, inputs, outputs);
  return {
    codebook: made[0]!,
    indices: made[1]!,
    scale: made[2]!,
    correction: mean === null ? null : made[3]!,
    figures: made.at(-1)!,
  };
}
