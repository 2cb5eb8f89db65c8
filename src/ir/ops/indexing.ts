import type { OpSpec } from "./spec.ts";

export const indexingOps: readonly OpSpec[] = [];
