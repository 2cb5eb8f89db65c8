import type { OpSpec } from "./spec.ts";

export const slicingOps: readonly OpSpec[] = [];
