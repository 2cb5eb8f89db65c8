import type { OpSpec } from "./spec.ts";

export const contribOps: readonly OpSpec[] = [];
