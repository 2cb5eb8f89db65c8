import type { OpSpec } from "./spec.ts";

export const randomOps: readonly OpSpec[] = [];
