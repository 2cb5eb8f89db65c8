import type { OpSpec } from "./spec.ts";

export const controlFlowOps: readonly OpSpec[] = [];
