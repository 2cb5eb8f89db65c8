import type { OpSpec } from "./spec.ts";

export const attentionOps: readonly OpSpec[] = [];
