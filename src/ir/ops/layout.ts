import type { OpSpec } from "./spec.ts";

export const layoutOps: readonly OpSpec[] = [];
