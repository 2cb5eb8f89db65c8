import type { OpSpec } from "./spec.ts";

export const sequencesOps: readonly OpSpec[] = [];
