import type { OpSpec } from "./spec.ts";

export const spatialOps: readonly OpSpec[] = [];
