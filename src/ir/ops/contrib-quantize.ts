import type { OpSpec } from "./spec.ts";

export const contribQuantizeOps: readonly OpSpec[] = [];
