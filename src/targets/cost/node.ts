import { DTYPES, type DType, isFloat } from "../../ir/dtype.ts";
import type { Machine } from "../machine.ts";
import type { CostKind } from "./kind.ts";

/** What a node takes of a machine. */
export interface NodeWork {
  readonly kind: CostKind;
  /** Operations; a multiply-add is 2. */
  readonly flops: number;
  /** Bytes read and written, and those among them that are constants. */
  readonly bytes: number;
  readonly weights: number;
  /** Type of the operands of a product; `null` for other kinds and where it is unknown. */
  readonly dtype: DType | null;
  /** Rows that are normalised one by one. */
  readonly rows?: number;
  /** Activation elements that the node itself converts to 8 bits before it multiplies. */
  readonly converted?: number;
}

/** What a node waits for most. */
export type Bound = "arithmetic" | "memory" | "overhead";

/** Estimate of one node. */
export interface NodeEstimate {
  readonly seconds: number;
  readonly bound: Bound;
}

/** Bytes that one element takes on its way from fp32 into 8 bits or back. */
const CONVERTED_BYTES = 5;

/** Seconds to take so many elements into or out of 8 bits. */
export function convertSeconds(machine: Machine, elements: number): number {
  return elements * (machine.convert8 ?? CONVERTED_BYTES / machine.bandwidth);
}

/** Operations a second for operands of a type; `null` where the machine has no figure for it or a wider float. */
export function productRate({ flops }: Machine, dtype: DType | null): number | null {
  if (dtype === null) return null;
  const own = flops[dtype];
  if (own !== undefined) return own;
  const wider = (Object.keys(flops) as DType[])
    .filter((d) => isFloat(d) && DTYPES[d].bits > DTYPES[dtype].bits)
    .sort((a, b) => DTYPES[a].bits - DTYPES[b].bits);
  return wider.length === 0 ? null : flops[wider[0]!]!;
}

function rateOf(machine: Machine, { kind, dtype }: NodeWork): number | null {
  switch (kind) {
    case "view":
    case "move":
      return Number.POSITIVE_INFINITY;
    case "product":
      return productRate(machine, dtype);
    case "attention":
    case "fusedAttention":
      return machine.other?.attention ?? productRate(machine, dtype);
    case "functions":
      return machine.other?.functions ?? machine.other?.pointwise ?? productRate(machine, "f32");
    case "statistics":
    case "pointwise":
      return machine.other?.[kind] ?? productRate(machine, "f32");
  }
}

/** Whether the arithmetic of a node has a rate on the machine; without one it counts nothing. */
export function counted(machine: Machine, work: NodeWork): boolean {
  return rateOf(machine, work) !== null;
}

/**
 * A node takes the overhead plus the longer of its arithmetic and its memory traffic (the roofline of Williams, Waterman
 * and Patterson, 2009), and what it converts.
 */
export function nodeEstimate(machine: Machine, work: NodeWork): NodeEstimate {
  const { view, attention } = machine.overhead;
  if (work.kind === "view") return { seconds: view, bound: "overhead" };
  const node = (work.kind === "fusedAttention" ? attention : undefined) ?? machine.overhead.node;
  const rate = rateOf(machine, work);
  const { bandwidth, weightBandwidth = bandwidth } = machine;
  const memory = (work.bytes - work.weights) / bandwidth + work.weights / weightBandwidth;
  const rows = (work.rows ?? 0) * (machine.overhead.row ?? 0);
  const arithmetic = (rate === null ? 0 : work.flops / rate) + rows;
  const busy = Math.max(memory, arithmetic) + convertSeconds(machine, work.converted ?? 0);
  const bound = node > busy ? "overhead" : memory > arithmetic ? "memory" : "arithmetic";
  return { seconds: node + busy, bound };
}
