import type { Rule } from "../types.ts";
import { compilerRules } from "./compilers.ts";
import { cpuRules } from "./cpu.ts";
import { generalRules } from "./general.ts";
import { gpuRules } from "./gpu.ts";
import { npuRules } from "./npu.ts";
import { tensorrtRules } from "./tensorrt.ts";

/** The rule table; adding a rule is a row in one of its parts. */
export const RULES: readonly Rule[] = [
  ...generalRules,
  ...cpuRules,
  ...gpuRules,
  ...tensorrtRules,
  ...compilerRules,
  ...npuRules,
];
