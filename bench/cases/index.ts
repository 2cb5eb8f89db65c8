import type { BenchCase } from "../lib/case.ts";
import { calibration } from "./calibration.ts";
import { cpuCostCase } from "./cpu-cost.ts";
import { exactReference } from "./exact-reference.ts";
import { exactSpeed } from "./exact-speed.ts";
import { mixedPrecision } from "./mixed-precision.ts";
import { onnxsim } from "./onnxsim.ts";
import { outputCorrection } from "./output-correction.ts";
import { sdxl } from "./sdxl.ts";
import { skeletonExact } from "./skeleton-exact.ts";
import { skeletonInspect } from "./skeleton-inspect.ts";
import { skeletonSpeed } from "./skeleton-speed.ts";
import { skeletonWeights } from "./skeleton-weights.ts";
import { workers } from "./workers.ts";

/** Every case, cheap ones first. */
export const cases: readonly BenchCase[] = [
  exactReference,
  workers,
  exactSpeed,
  cpuCostCase,
  calibration,
  onnxsim,
  mixedPrecision,
  outputCorrection,
  skeletonInspect,
  skeletonExact,
  skeletonWeights,
  skeletonSpeed,
  sdxl,
];
