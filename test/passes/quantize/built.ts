import { expect } from "vitest";
import type { Model, Node } from "../../../src/ir/graph.ts";
import type { Tensor } from "../../../src/ir/tensor.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import type { QuantizeStaticOptions } from "../../../src/passes/quantize/static/options.ts";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { elementsOf } from "../../../src/runtime/kernels/elements.ts";
import type { Target } from "../../../src/targets/target.ts";
import { runtime } from "../harness.ts";
import { CALLS, denoiser } from "./denoiser.ts";
import { quantize } from "./quantized.ts";

/** Inputs of the made-up trajectory. */
export const FEEDS = CALLS.map((c) => c.feeds);

/** A model that was quantized and what was said about it. */
export interface Built {
  readonly model: Model;
  readonly decisions: readonly Decision[];
}

/** `model` through quantize-static over the made-up trajectory. */
export async function built(
  options: Partial<QuantizeStaticOptions>,
  t: Target | null = null,
  model: Model = denoiser(),
): Promise<Built> {
  const all = { minElements: 64, ...options };
  const decisions = await quantize(model, quantizeStatic, { options: all, target: t, calls: CALLS });
  return { model, decisions };
}

/** Elements of a constant. */
export const numbers = async (t: Tensor): Promise<number[]> => {
  const { dtype, dims } = t;
  return Array.from(elementsOf({ dtype, dims, bytes: await (await runtime()).reader.read(t) }), Number);
};

/** The node that carries on a name. */
export const named = ({ graph }: Model, name: string): Node =>
  [...graph.nodes()].find((n) => n.name.replace(/_\d+$/, "") === name)!;
/** Rule and node of decisions of one kind. */
export const rules = (d: readonly Decision[], kind: Decision["kind"]): string[] =>
  d.filter((x) => x.kind === kind).map((x) => `${x.rule} ${x.node}`.trim());

/** The DequantizeLinear behind an input of a layer: its node and constants. */
export function behind({ graph }: Model, node: Node, input: number) {
  const dq = graph.producer(node.inputs[input]!)!;
  expect(dq.op).toBe("DequantizeLinear");
  const constant = (i: number): Tensor => graph.constant(dq.inputs[i]!)!;
  return { dq, constant };
}
