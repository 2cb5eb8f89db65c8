import type { Tensor } from "../../ir/tensor.ts";
import { packBits, unpackBits } from "../../numeric/bits.ts";
import { miniToF32 } from "../../numeric/minifloat.ts";
import { NVFP4_BLOCK, nvfp4 } from "../../numeric/quantize/float-grid.ts";
import { asF32, encodeFloat, f32Scratch } from "./elements.ts";
import { defineKernel } from "./kernel.ts";
import { finiteWeights, requireFloat } from "./quantize.ts";

/** The axis of a matrix that blocks run along. */
type Params = { readonly axis: 0 | 1 };

/** A matrix with rows and columns exchanged. */
function turned<T extends Uint8Array | Float32Array>(x: T, rows: number, columns: number): T {
  const out = x.slice() as T;
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** E2M1 numbers, E4M3FN block scales and one float32 scale of a matrix. */
export const quantizeNvfp4Kernel = defineKernel<Params>({
  name: "quantize-nvfp4",
  version: 1,
  scratch: (_p, [t]) => 3 * f32Scratch(t!),
  evaluate({ axis }, [x], [data, scale, global]) {
    const [rows, columns] = x!.dims as [number, number];
    const w = finiteWeights("quantize-nvfp4", x!);
    const [outputs, length] = axis === 1 ? [rows, columns] : [columns, rows];
    const found = nvfp4(axis === 1 ? w : turned(w, rows, columns), outputs);
    const codes = unpackBits(found.packed, 4, w.length);
    const along = axis === 1;
    return [
      { ...data!, bytes: along ? found.packed : packBits(turned(codes, outputs, length), 4) },
      { ...scale!, bytes: along ? found.scales : turned(found.scales, outputs, length / NVFP4_BLOCK) },
      { ...global!, bytes: encodeFloat("f32", Float32Array.of(found.global)) },
    ];
  },
});

/** e2m1 · (e4m3 · global), each product rounded to single precision, as two nodes of DequantizeLinear-23 do it. */
export const dequantizeNvfp4Kernel = defineKernel<Params>({
  name: "dequantize-nvfp4",
  version: 1,
  scratch: (_p, _i, [out]) => 2 * f32Scratch(out!),
  evaluate({ axis }, [data, scale, global], [out]) {
    const [rows, columns] = out!.dims as [number, number];
    const codes = miniToF32("f4e2m1", unpackBits(data!.bytes, 4, rows * columns));
    const [unit] = asF32(global!);
    const scales = asF32(scale!).map((s) => s * unit!);
    const wide = scale!.dims[1]!;
    const x = codes.map((v, i) => {
      const [r, c] = [Math.floor(i / columns), i % columns];
      const at = axis === 0 ? Math.floor(r / NVFP4_BLOCK) * wide + c : r * wide + Math.floor(c / NVFP4_BLOCK);
      return v * scales[at]!;
    });
    return [{ ...out!, bytes: encodeFloat("f32", x) }];
  },
});

/** A matrix in NVFP4. */
export interface Nvfp4Tensor {
  /** f4e2m1, in the shape of the matrix. */
  readonly data: Tensor;
  /** f8e4m3fn, with a 16th of the length along the blocked axis. */
  readonly scale: Tensor;
  /** f32, a scalar. */
  readonly global: Tensor;
}

/** A matrix whose length along `axis` is a multiple of 16, in NVFP4 with blocks along it. */
export function quantizeNvfp4(t: Tensor, axis: 0 | 1): Nvfp4Tensor {
  requireFloat(t);
  if (t.dims.length !== 2 || t.dims[axis]! % NVFP4_BLOCK !== 0)
    throw new Error(`no blocks of ${NVFP4_BLOCK} along axis ${axis} of [${t.dims.join(", ")}]`);
  const [data, scale, global] = quantizeNvfp4Kernel.derive(
    { axis },
    [t],
    [
      { dtype: "f4e2m1", dims: t.dims },
      { dtype: "f8e4m3fn", dims: t.dims.map((d, i) => (i === axis ? d / NVFP4_BLOCK : d)) },
      { dtype: "f32", dims: [] },
    ],
  );
  return { data: data!, scale: scale!, global: global! };
}

/** The float32 matrix that {@link quantizeNvfp4} stands for. */
export function dequantizeNvfp4({ data, scale, global }: Nvfp4Tensor, axis: 0 | 1): Tensor {
  const out = { dtype: "f32", dims: data.dims } as const;
  return dequantizeNvfp4Kernel.derive({ axis }, [data, scale, global], [out])[0]!;
}
