import type { OpSpec } from "./spec.ts";

export const contribAttentionOps: readonly OpSpec[] = [];
