import type { OpSpec } from "./spec.ts";

export const poolOps: readonly OpSpec[] = [];
