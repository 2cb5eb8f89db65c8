import type { OpSpec } from "./spec.ts";

export const matmulOps: readonly OpSpec[] = [];
