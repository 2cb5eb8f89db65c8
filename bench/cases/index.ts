import type { BenchCase } from "../lib/case.ts";
import { agreement } from "./agreement.ts";
import { browserCase } from "./browser.ts";
import { calibration } from "./calibration.ts";
import { checkPeers } from "./check-peers.ts";
import { checkSkeletons } from "./check-skeletons.ts";
import { cpuCostCase } from "./cpu-cost.ts";
import { exactReference } from "./exact-reference.ts";
import { exactSpeed } from "./exact-speed.ts";
import { attentionShapes, factorizeShapes } from "./factorize-shapes.ts";
import { formats } from "./formats.ts";
import { fusedOperators } from "./fused-operators.ts";
import { guards } from "./guards.ts";
import { hybrids } from "./hybrids.ts";
import { integerSpeed } from "./integer-speed.ts";
import { linalg } from "./linalg.ts";
import { mixedPrecision } from "./mixed-precision.ts";
import { onnxsim } from "./onnxsim.ts";
import { outputCorrection } from "./output-correction.ts";
import { paletteShapes } from "./palette-shapes.ts";
import { paperShapes } from "./paper-shapes.ts";
import { peers } from "./peers.ts";
import { pruneShapes } from "./prune-shapes.ts";
import { quantize4bit } from "./quantize-4bit.ts";
import { quantize8bit } from "./quantize-8bit.ts";
import { sd15At8Bits } from "./sd15-8bit.ts";
import { sdxl } from "./sdxl.ts";
import { shrinkLarge } from "./shrink-large.ts";
import { skeletonExact } from "./skeleton-exact.ts";
import { skeletonInspect } from "./skeleton-inspect.ts";
import { skeletonSpeed } from "./skeleton-speed.ts";
import { skeletonWeights } from "./skeleton-weights.ts";
import { sparseShapes } from "./sparse-shapes.ts";
import { targetsCase } from "./targets.ts";
import { vaeFormats } from "./vae-formats.ts";
import { webgpuCase } from "./webgpu.ts";
import { workers } from "./workers.ts";

/** Every case, cheap ones first. */
export const cases: readonly BenchCase[] = [
  exactReference,
  workers,
  linalg,
  exactSpeed,
  cpuCostCase,
  calibration,
  onnxsim,
  peers,
  checkPeers,
  quantize8bit,
  quantize4bit,
  agreement,
  fusedOperators,
  integerSpeed,
  vaeFormats,
  mixedPrecision,
  outputCorrection,
  paperShapes,
  factorizeShapes,
  attentionShapes,
  sparseShapes,
  paletteShapes,
  pruneShapes,
  hybrids,
  targetsCase,
  webgpuCase,
  browserCase,
  formats,
  guards,
  skeletonInspect,
  checkSkeletons,
  skeletonExact,
  skeletonWeights,
  skeletonSpeed,
  shrinkLarge,
  sd15At8Bits,
  sdxl,
];
