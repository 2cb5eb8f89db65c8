import type { OpSpec } from "./spec.ts";

export const recurrentOps: readonly OpSpec[] = [];
