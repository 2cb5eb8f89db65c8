import type { OpSpec } from "./spec.ts";

export const lossesOps: readonly OpSpec[] = [];
