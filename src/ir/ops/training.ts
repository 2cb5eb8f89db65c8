import type { OpSpec } from "./spec.ts";

export const trainingOps: readonly OpSpec[] = [];
