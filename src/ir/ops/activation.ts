import type { OpSpec } from "./spec.ts";

export const activationOps: readonly OpSpec[] = [];
