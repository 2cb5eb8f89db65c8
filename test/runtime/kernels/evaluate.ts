import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Tensor } from "../../../src/ir/tensor.ts";
import { evaluate, leafBytes } from "../../../src/runtime/evaluate.ts";
import { elementsOf } from "../../../src/runtime/kernels/elements.ts";

/** A tensor evaluated in this thread. */
export async function denseOf(t: Tensor): Promise<Dense> {
  const s = t.source;
  if (s.kind !== "derived") return { dtype: t.dtype, dims: t.dims, bytes: await leafBytes(t) };
  return { ...(await evaluate(s.derivation))[s.output]!, dims: t.dims };
}

/** Its elements as plain numbers. */
export async function numbersOf(t: Tensor): Promise<number[]> {
  return Array.from(elementsOf(await denseOf(t)) as ArrayLike<number | bigint>, Number);
}

/** Deterministic values that look like weights: roughly normal, every one different. */
export function weights(n: number, seed = 1): Float32Array {
  const x = new Float32Array(n);
  let s = seed >>> 0;
  const next = (): number => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return s / 2 ** 32;
  };
  for (let i = 0; i < n; i++) x[i] = (next() + next() + next() + next() - 2) * 0.1;
  return x;
}
