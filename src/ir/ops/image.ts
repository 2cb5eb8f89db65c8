import type { OpSpec } from "./spec.ts";

export const imageOps: readonly OpSpec[] = [];
