import { castKernel } from "./cast.ts";
import type { Kernel } from "./kernel.ts";
import { transposeKernel } from "./transpose.ts";

const ALL: readonly Kernel[] = [castKernel, transposeKernel];

/** Every derivation kernel by name. */
export const KERNELS: ReadonlyMap<string, Kernel> = new Map(ALL.map((k) => [k.name, k]));
