import type { OpSpec } from "./spec.ts";

export const signalOps: readonly OpSpec[] = [];
