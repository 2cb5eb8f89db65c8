import type { OpSpec } from "./spec.ts";

export const einsumOps: readonly OpSpec[] = [];
