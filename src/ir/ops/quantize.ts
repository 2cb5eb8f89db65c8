import type { OpSpec } from "./spec.ts";

export const quantizeOps: readonly OpSpec[] = [];
