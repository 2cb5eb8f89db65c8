import { elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { EncodedCondition } from "./conditions.ts";
import { floats, stack } from "./dense.ts";
import type { InputRoles } from "./roles.ts";

/** How conditional and unconditional outputs are combined. */
export interface Guidance {
  /** `out = uncond + scale * (cond - uncond)` (Ho and Salimans 2022). */
  readonly scale: number;
  /** Run both halves although the scale is 1 and the unconditional one drops out; default false. */
  readonly bothHalves?: boolean;
}

/** Halves of a run: 2 when the unconditional half is in the batch, before the conditional one. */
export function guidanceHalves(guidance: Guidance): 1 | 2 {
  return guidance.scale !== 1 || guidance.bothHalves === true ? 2 : 1;
}

/**
 * Combines a denoiser output of `halves * n` samples into `n` guided ones: the unconditional samples come first, then
 * the conditional ones in the same order. With one half the output itself.
 */
export function guide(output: Dense, halves: 1 | 2, scale: number): Float32Array {
  const values = floats(output);
  if (halves === 1) return values;
  const half = values.length / 2;
  const out = new Float32Array(half);
  for (let k = 0; k < half; k++) out[k] = values[k]! + scale * (values[half + k]! - values[k]!);
  return out;
}

/** Conditional minus unconditional half, the effect of the condition; two halves needed. */
export function conditioningEffect(output: Dense): Float32Array {
  const values = floats(output);
  const half = values.length / 2;
  return Float32Array.from({ length: half }, (_, k) => values[half + k]! - values[k]!);
}

/** Splits an output that carries a learned variance: prediction and variance channels of each sample. */
export function splitVariance(
  output: Dense,
  sampleSize: number,
): { prediction: Dense; variance: Dense | null } {
  const n = output.dims[0]!;
  if (elementCount(output.dims) === n * sampleSize) return { prediction: output, variance: null };
  const values = floats(output);
  const dims = [n, output.dims[1]! / 2, ...output.dims.slice(2)];
  const part = (offset: number): Dense => {
    const out = new Float32Array(n * sampleSize);
    for (let i = 0; i < n; i++) {
      const from = (2 * i + offset) * sampleSize;
      out.set(values.subarray(from, from + sampleSize), i * sampleSize);
    }
    return { dtype: "f32", dims, bytes: new Uint8Array(out.buffer) };
  };
  return { prediction: part(0), variance: part(1) };
}

/** Feeds of the inputs other than sample and time for one batch: unconditional rows, then the conditional ones. */
export function conditionFeeds(
  roles: InputRoles,
  conditional: readonly EncodedCondition[],
  unconditional: EncodedCondition | null,
  guidance: Guidance,
): Map<string, Dense> {
  const halves = guidanceHalves(guidance);
  const order =
    halves === 2 && unconditional !== null
      ? [...conditional.map(() => unconditional), ...conditional]
      : conditional;
  const feeds = new Map<string, Dense>();
  for (const role of roles.conditions) {
    const parts = order.map((c) => c.inputs.get(role.name));
    const first = parts[0];
    if (first === undefined) continue;
    feeds.set(role.name, role.batched ? stack(parts.map((p) => p ?? first)) : first);
  }
  return feeds;
}
