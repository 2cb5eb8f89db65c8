import type { OpSpec } from "./spec.ts";

export const optionalsOps: readonly OpSpec[] = [];
