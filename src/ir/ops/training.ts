import { count, MANY, sameAs } from "./shape-rules.ts";
import type { OpSpec } from "./spec.ts";

const DOMAIN = "ai.onnx.preview.training";

/**
 * An optimiser: inputs R, T, then `groups` lists of n tensors of which the second holds the gradients; outputs are the
 * other lists, updated.
 */
function optimiser(op: string, groups: number, flopsPerElement: number): OpSpec {
  return {
    op,
    domain: DOMAIN,
    versions: [1],
    inputs: count(2 + groups, MANY),
    outputs: count(groups - 1, MANY),
    infer: (ctx) => {
      const n = Math.floor((ctx.node.inputs.length - 2) / groups);
      if (n * groups + 2 !== ctx.node.inputs.length)
        ctx.invalid(`${ctx.node.inputs.length - 2} tensors do not split into ${groups} equal lists`);
      for (let i = 0; i < ctx.node.outputs.length; i++) {
        const list = Math.floor(i / Math.max(1, n));
        sameAs(ctx, 2 + (list === 0 ? 0 : list + 1) * n + (i % Math.max(1, n)), i);
      }
    },
    flops: (ctx) => {
      let total = 0;
      for (const o of ctx.outputs) total += (o ?? [0]).reduce((a, b) => a * b, 1);
      return (total / (groups - 1)) * flopsPerElement;
    },
  };
}

/** Training operators of `ai.onnx.preview.training`. */
export const trainingOps: readonly OpSpec[] = [
  {
    op: "Gradient",
    domain: DOMAIN,
    versions: [1],
    inputs: count(1, MANY),
    outputs: count(1, MANY),
    // Output i is the gradient of y with respect to input i, one for each name in `xs`.
    infer: (ctx) => {
      for (let i = 0; i < ctx.node.outputs.length; i++) sameAs(ctx, i, i);
    },
  },
  optimiser("Adagrad", 3, 7),
  optimiser("Momentum", 3, 6),
  optimiser("Adam", 4, 12),
];
