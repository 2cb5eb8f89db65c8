import type { OpSpec } from "./spec.ts";

export const reductionsOps: readonly OpSpec[] = [];
