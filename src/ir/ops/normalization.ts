import type { OpSpec } from "./spec.ts";

export const normalizationOps: readonly OpSpec[] = [];
