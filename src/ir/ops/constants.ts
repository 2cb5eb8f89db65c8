import type { OpSpec } from "./spec.ts";

export const constantsOps: readonly OpSpec[] = [];
