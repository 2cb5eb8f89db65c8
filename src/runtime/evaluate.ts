import { byteLength, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { type Derivation, type Tensor, tensorBytes } from "../ir/tensor.ts";
import { KERNELS } from "./kernels/index.ts";
import { describeType } from "./kernels/kernel.ts";
import { readRange } from "./ranges.ts";
import { encodeStrings } from "./strings.ts";

function kernelOf(d: Derivation) {
  const kernel = KERNELS.get(d.kernel);
  if (kernel === undefined || kernel.version !== d.version) {
    throw new Error(`no kernel ${d.kernel} version ${d.version}`);
  }
  return kernel;
}

/** Derivations a tensor stands on, with how often each is read. */
function countReads(t: Tensor, reads: Map<Derivation, number>): void {
  if (t.source.kind !== "derived") return;
  const { derivation } = t.source;
  const seen = reads.get(derivation) ?? 0;
  reads.set(derivation, seen + 1);
  if (seen === 0) for (const i of derivation.inputs) countReads(i, reads);
}

/**
 * Evaluates a derivation in this thread, inputs first. Intermediate results live only until their last reader is done.
 */
export async function evaluate(derivation: Derivation): Promise<Dense[]> {
  const reads = new Map<Derivation, number>();
  for (const i of derivation.inputs) countReads(i, reads);
  const shared = new Map<Derivation, Dense[]>();

  async function run(d: Derivation): Promise<Dense[]> {
    const kernel = kernelOf(d);
    const inputs: Dense[] = [];
    for (const i of d.inputs) inputs.push(await resolve(i));
    const outputs = kernel.evaluate(d.params, inputs, d.outputs);
    for (const [i, want] of d.outputs.entries()) {
      const got = outputs[i];
      if (got?.dtype !== want.dtype || got.bytes.length !== byteLength(want.dtype, elementCount(want.dims))) {
        throw new Error(`${d.kernel} did not make output ${i} as ${describeType(want)}`);
      }
    }
    return outputs;
  }

  async function resolve(t: Tensor): Promise<Dense> {
    if (t.source.kind !== "derived") return { dtype: t.dtype, dims: t.dims, bytes: await leafBytes(t) };
    const d = t.source.derivation;
    const left = (reads.get(d) ?? 1) - 1;
    reads.set(d, left);
    const outputs = shared.get(d) ?? (await run(d));
    if (left > 0) shared.set(d, outputs);
    else shared.delete(d);
    return { dtype: t.dtype, dims: t.dims, bytes: outputs[t.source.output]!.bytes };
  }

  return await run(derivation);
}

/** Bytes of a tensor that is not derived. Those of inline tensors are shared, not copied. */
export async function leafBytes(t: Tensor): Promise<Uint8Array> {
  const s = t.source;
  switch (s.kind) {
    case "inline":
      return s.bytes;
    case "file":
      return await readRange(s);
    case "strings":
      return encodeStrings(s.values);
    case "derived":
      throw new Error("a derived tensor is not a leaf");
  }
}

/**
 * Upper bound of the bytes that are alive at once while a tensor is made: inputs, outputs and scratch of the deepest
 * step, plus what earlier steps have left waiting. Sums are linear in the size of the derivation.
 */
export function peakBytes(t: Tensor): number {
  const known = new Map<Derivation, number>();
  function peak(x: Tensor): number {
    if (x.source.kind !== "derived") return tensorBytes(x);
    const d = x.source.derivation;
    const before = known.get(d);
    if (before !== undefined) return before;
    let waiting = 0;
    let most = 0;
    for (const i of d.inputs) {
      most = Math.max(most, waiting + peak(i));
      waiting += i.source.kind === "derived" ? outputBytes(i.source.derivation) : tensorBytes(i);
    }
    const scratch = kernelOf(d).scratch(d.params, d.inputs, d.outputs);
    const result = Math.max(most, waiting + scratch + outputBytes(d));
    known.set(d, result);
    return result;
  }
  return peak(t);
}

/** Bytes of all outputs of a derivation. */
export function outputBytes(d: Derivation): number {
  return d.outputs.reduce((sum, o) => sum + byteLength(o.dtype, elementCount(o.dims)), 0);
}
