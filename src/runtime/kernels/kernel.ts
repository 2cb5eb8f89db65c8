import type { Dense } from "../../ir/evaluator.ts";
import type { Derivation, Json, Tensor } from "../../ir/tensor.ts";
import { derivedTensor } from "../../ir/tensor.ts";

/** Type of one kernel output or input. */
export type KernelType = Derivation["outputs"][number];

/** A pure function from tensors to tensors that derivations name. Equal inputs and parameters give equal bytes. */
export interface Kernel {
  readonly name: string;
  /** Bumped whenever the output for the same input changes. */
  readonly version: number;
  /** Bytes needed at once beside inputs and outputs. */
  scratch(params: Json, inputs: readonly KernelType[], outputs: readonly KernelType[]): number;
  /** Must return fresh bytes, or those of an input unchanged; never writes into an input. */
  evaluate(params: Json, inputs: readonly Dense[], outputs: readonly KernelType[]): Dense[];
}

/** A kernel with its parameter type, and how to make derivations of it. */
export interface TypedKernel<P extends Json> extends Kernel {
  /** The outputs of the kernel as tensors that share one evaluation. */
  derive(params: P, inputs: readonly Tensor[], outputs: readonly KernelType[]): Tensor[];
}

/** Declares a kernel. `scratch` defaults to nothing. */
export function defineKernel<P extends Json>(kernel: {
  readonly name: string;
  readonly version: number;
  readonly scratch?: (params: P, inputs: readonly KernelType[], outputs: readonly KernelType[]) => number;
  readonly evaluate: (params: P, inputs: readonly Dense[], outputs: readonly KernelType[]) => Dense[];
}): TypedKernel<P> {
  const { name, version } = kernel;
  return {
    name,
    version,
    scratch: (params, inputs, outputs) => kernel.scratch?.(params as P, inputs, outputs) ?? 0,
    evaluate: (params, inputs, outputs) => kernel.evaluate(params as P, inputs, outputs),
    derive(params, inputs, outputs) {
      const derivation: Derivation = { kernel: name, version, params, inputs, outputs };
      return outputs.map((_, i) => derivedTensor(derivation, i));
    },
  };
}

/** `f32[3,4]`, for messages. */
export function describeType(t: KernelType): string {
  return `${t.dtype}[${t.dims.join(",")}]`;
}

/** The derivation behind a tensor when it is output 0 of the given kernel, so that builders can simplify chains. */
export function madeBy(
  t: Tensor,
  kernel: { readonly name: string; readonly version: number },
): Derivation | null {
  if (t.source.kind !== "derived" || t.source.output !== 0) return null;
  const d = t.source.derivation;
  return d.kernel === kernel.name && d.version === kernel.version ? d : null;
}

/** Resolves a possibly negative axis; a bad one is a bug of the caller. */
export function normalAxis(axis: number, rank: number): number {
  const a = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(a) || a < 0 || a >= rank) throw new Error(`axis ${axis} of a rank ${rank} tensor`);
  return a;
}

/** A shape seen from one axis: `outer` blocks of `length` entries of `inner` contiguous elements. */
export function splitAxis(
  dims: readonly number[],
  axis: number,
): { outer: number; length: number; inner: number } {
  let outer = 1;
  let inner = 1;
  for (const [i, d] of dims.entries()) {
    if (i < axis) outer *= d;
    else if (i > axis) inner *= d;
  }
  return { outer, length: dims[axis]!, inner };
}
