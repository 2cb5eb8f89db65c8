import type { OpSpec } from "./spec.ts";

export const convOps: readonly OpSpec[] = [];
