import { affineKernel } from "./affine.ts";
import { castKernel } from "./cast.ts";
import { concatKernel } from "./concat.ts";
import { dequantizeBlocksKernel, dequantizeKernel } from "./dequantize.ts";
import { factorLowRankKernel } from "./factor-low-rank.ts";
import { factorTuckerKernel, tuckerSpectraKernel } from "./factor-tucker.ts";
import { fitPaletteKernel } from "./fit-palette.ts";
import { fitWeightKernel } from "./fit-weight.ts";
import type { Kernel } from "./kernel.ts";
import { narrowScoresKernel, narrowValuesKernel } from "./narrow-heads.ts";
import { dequantizeNvfp4Kernel, quantizeNvfp4Kernel } from "./nvfp4.ts";
import { quantizeBlocksKernel } from "./quantize-blocks.ts";
import { quantizeChannelKernel } from "./quantize-channel.ts";
import { quantizeExpandedKernel } from "./quantize-expanded.ts";
import { quantizeGroupsKernel } from "./quantize-groups.ts";
import { quantizeScaledKernel } from "./quantize-scaled.ts";
import { repairAcrossKernel } from "./repair-across.ts";
import { repairColumnsKernel } from "./repair-columns.ts";
import { selectKernel } from "./select.ts";
import { shareBasisKernel } from "./share-basis.ts";
import { sliceKernel } from "./slice.ts";
import { sparsifyWeightKernel } from "./sparsify-weight.ts";
import { steerWeightKernel } from "./steer-weight.ts";
import { transposeKernel } from "./transpose.ts";
import { upsamplePhaseKernel } from "./upsample-phase.ts";
import { weighedSpectrumKernel } from "./weighed-spectrum.ts";

const ALL: readonly Kernel[] = [
  affineKernel,
  castKernel,
  concatKernel,
  dequantizeBlocksKernel,
  dequantizeKernel,
  dequantizeNvfp4Kernel,
  factorLowRankKernel,
  factorTuckerKernel,
  fitPaletteKernel,
  fitWeightKernel,
  narrowScoresKernel,
  narrowValuesKernel,
  quantizeBlocksKernel,
  quantizeChannelKernel,
  quantizeExpandedKernel,
  quantizeGroupsKernel,
  quantizeNvfp4Kernel,
  quantizeScaledKernel,
  repairAcrossKernel,
  repairColumnsKernel,
  selectKernel,
  shareBasisKernel,
  sliceKernel,
  steerWeightKernel,
  sparsifyWeightKernel,
  transposeKernel,
  tuckerSpectraKernel,
  upsamplePhaseKernel,
  weighedSpectrumKernel,
];

/** Every derivation kernel by name. */
export const KERNELS: ReadonlyMap<string, Kernel> = new Map(ALL.map((k) => [k.name, k]));
