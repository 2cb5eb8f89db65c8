import type { OpSpec } from "./spec.ts";

export const stringsOps: readonly OpSpec[] = [];
