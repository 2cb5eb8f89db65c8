import type { Graph, Model } from "../../../ir/graph.ts";
import type { IntegerSupport } from "../../../targets/target.ts";
import type { Decision } from "../../pass.ts";
import type { QuantizeStaticOptions } from "./options.ts";

/** QuantizeLinear and DequantizeLinear of E4M3FN are defined from this opset on. */
const FLOAT8_OPSET = 19;

/** Kinds of layers that are written in fp8; `null`: integers are, where fp8 was asked for with the reason. */
export function float8Of(
  asked: Pick<QuantizeStaticOptions, "numbers" | "bits">,
  integer: IntegerSupport,
  ctx: { readonly model: Model; decide(d: Decision): void },
): NonNullable<IntegerSupport["float8"]> | null {
  if (asked.numbers === "integer") return null;
  const opset = ctx.model.opsets.get("") ?? 1;
  const why =
    integer.float8 === undefined
      ? "the target does not multiply fp8 numbers"
      : opset < FLOAT8_OPSET
        ? `fp8 conversions are defined from opset ${FLOAT8_OPSET} on, and the model has ${opset}`
        : asked.bits === 16
          ? "fp8 numbers have 8 bits, and 16 are asked for"
          : null;
  if (why === null) return integer.float8!;
  ctx.decide({ node: "", kind: "downgraded", rule: "float8", why, from: "float8", to: "integer" });
  return null;
}

/** Blocks of DequantizeLinear are defined from this opset on. */
const BLOCK_OPSET = 21;

/** Inputs to a block of 4-bit weights; `null`: weights have 8 bits, where 4 were asked for with the reason. */
export function blockOf(
  asked: Pick<QuantizeStaticOptions, "weights">,
  integer: IntegerSupport,
  ctx: { readonly model: Model; readonly bits: 8 | 16; decide(d: Decision): void },
): number | null {
  if (asked.weights === 8) return null;
  const opset = ctx.model.opsets.get("") ?? 1;
  const why =
    integer.expandedBlock === undefined
      ? "the target takes no 4-bit weights beside quantized activations"
      : ctx.bits !== 16
        ? "4-bit weights go with activations of 16 bits"
        : opset < BLOCK_OPSET
          ? `blocks are defined from opset ${BLOCK_OPSET} on, and the model has ${opset}`
          : null;
  if (why === null) return integer.expandedBlock!;
  ctx.decide({ node: "", kind: "downgraded", rule: "weights", why, from: "w4", to: "w8" });
  return null;
}

/** Why nothing of a family is written into a graph that has the other one already; `null` where it has not. */
export function otherFamily(graph: Graph, float8: boolean): string | null {
  for (const node of graph.nodes()) {
    if (node.op !== "QuantizeLinear") continue;
    const dtype = graph.constant(node.inputs[2])?.dtype;
    if (dtype === undefined || dtype.startsWith("f8") === float8) continue;
    return `"${node.name}" converts to ${dtype} already, and a model keeps to one family of 8-bit numbers`;
  }
  return null;
}
