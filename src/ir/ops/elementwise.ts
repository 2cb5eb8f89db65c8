import type { OpSpec } from "./spec.ts";

export const elementwiseOps: readonly OpSpec[] = [];
