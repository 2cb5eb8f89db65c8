import type { OpSpec } from "./spec.ts";

export const mlOps: readonly OpSpec[] = [];
