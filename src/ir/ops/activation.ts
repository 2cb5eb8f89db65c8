import { unary } from "./elementwise.ts";
import { axisAttr, count, elements, sameAs } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec } from "./spec.ts";

/** Softmax keeps the shape; before opset 13 it flattened at `axis`, which may then equal the rank. */
function inferSoftmax(ctx: InferContext) {
  sameAs(ctx, 0);
  const rank = ctx.shape(0)?.length;
  if (rank === undefined || rank === 0) return;
  if (ctx.opset >= 13) axisAttr(ctx, rank, -1);
  else if (Math.abs(ctx.int("axis", 1)) > rank)
    ctx.invalid(`axis ${ctx.int("axis", 1)} does not fit rank ${rank}`);
}

/** Maximum, subtraction, exponential, sum and division. */
function softmaxFlops(c: CostContext): number {
  return 5 * (elements(c.inputs[0]) ?? 0);
}

function softmax(op: string): OpSpec {
  return {
    op,
    domain: "",
    versions: [1, 11, 13],
    inputs: count(1),
    outputs: count(1),
    traits: ["reduction"],
    infer: inferSoftmax,
    flops: softmaxFlops,
  };
}

/** Activation functions of the standard domain. */
export const activationOps: readonly OpSpec[] = [
  unary("Celu", [12]),
  unary("Elu", [1, 6, 22]),
  unary("Gelu", [20]),
  unary("HardSigmoid", [1, 6, 22]),
  unary("HardSwish", [14, 22]),
  unary("LeakyRelu", [1, 6, 16]),
  unary("Mish", [18, 22]),
  // The slope broadcasts to the input and never the other way round.
  unary("PRelu", [1, 6, 7, 9, 16], { inputs: count(2) }),
  unary("Relu", [1, 6, 13, 14]),
  unary("Selu", [1, 6, 22]),
  unary("Shrink", [9]),
  unary("Sigmoid", [1, 6, 13]),
  unary("Softplus", [1, 22]),
  unary("Softsign", [1, 22]),
  unary("Swish", [24]),
  unary("Tanh", [1, 6, 13]),
  unary("ThresholdedRelu", [1, 10, 22]),
  softmax("Softmax"),
  softmax("LogSoftmax"),
  softmax("Hardmax"),
];
