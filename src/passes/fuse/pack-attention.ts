import type { DType } from "../../ir/dtype.ts";
import { attrInt, type Node, type ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { MatchScope } from "../../ir/pattern/constant.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { isPackedAttention } from "../../targets/lower/attention.ts";
import { definePass } from "../pass.ts";
import { mergedProduct, mergeProblem, type Projection, projectionOf } from "./projection.ts";

/** Options of `pack-attention`. */
export interface PackAttentionOptions {
  readonly types: readonly DType[] | null;
}

/** Inputs of MultiHeadAttention beside query, key and value. */
const BIAS = 3;
const MASK = 5;

/** What packing one attention would take together, or why it stays as it is. */
interface Packing {
  readonly projections: readonly Projection[];
  readonly heads: number;
  readonly dtype: DType;
}

/** Query, key and value where each is [batch, tokens, heads·width] with equal widths. */
function packingOf(scope: MatchScope, node: Node, types: PackAttentionOptions["types"]): Packing | string {
  const heads = attrInt(node, "num_heads") ?? 0;
  const beyond = node.inputs.some((id, i) => i >= BIAS && i !== MASK && id !== null);
  if (beyond) return "it has a bias, a padding mask or a past";
  if (node.outputs.slice(1).some((o) => o !== null))
    return "its present key and value or its scores are named";
  const three = node.inputs.slice(0, 3) as ValueId[];
  const dtype = scope.shapes?.dtype(three[0]!) ?? null;
  if (dtype === null || types?.includes(dtype) === false)
    return `it computes in ${dtype ?? "an unknown type"}, and packing gains in ${types?.join(" and ") ?? "floats"} alone`;
  const widths = three.map((id) => scope.shapes?.shape(id));
  const [width] = widths.map((s) => (s?.length === 3 ? s[2] : undefined));
  if (typeof width !== "number" || heads < 1 || width % heads !== 0 || widths.some((s) => s?.[2] !== width))
    return "query, key and value are not [batch, tokens, heads·width] of one known width";
  const [q, k, v] = three.map((id) => projectionOf(scope, id));
  for (const [what, p] of [
    ["key", k],
    ["value", v],
  ] as const)
    if (typeof p === "string") return `its ${what} does not merge: ${p}`;
  const [key, value] = [k as Projection, v as Projection];
  const why = mergeProblem([key, value]);
  if (why !== null) return `its key and value do not merge: ${why}`;
  const self = typeof q !== "string" && q !== undefined && mergeProblem([q, key, value]) === null;
  return { projections: self ? [q, key, value] : [key, value], heads, dtype };
}

export const packAttention = definePass<PackAttentionOptions>({
  name: "pack-attention",
  family: "fuse",
  summary:
    "Makes queries, keys and values of attention in one product, packed as MultiHeadAttention reads them",
  doc: `onnxruntime's MultiHeadAttention reads query, key and value from one tensor [batch, tokens, heads, 3, width], or key
and value from [batch, tokens, heads, 2, width]. Projections of one value become one product whose columns lie head by
head, so that a Reshape, which moves nothing, gives that form: one larger product instead of two or three, and no
transposition in kernels that read packed tensors. Projections of self-attention merge three, those of cross-attention
merge key and value. Packed weights of MatMulNBits merge by their rows. The pass comes last in a build, when weights have
their formats.

Left alone, with the reason: projections of different formats or block sizes, those that are quantized so that their
weights are computed when the model is loaded, results that something else reads, element types in which the target's
kernels gain nothing, and attention with a bias, padding mask or past.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      types: {
        type: ["array", "null"],
        items: { enum: ["f32", "f16", "bf16"] },
        default: null,
        description: "Element types to pack; null: any.",
      },
    },
  },
  version: 1,
  run(graph, { types }, ctx) {
    const scope: MatchScope = { graph, shapes: ctx.shapes() };
    const patch = new PatchBuilder(graph, "pack-attention");
    const counts = new Map<string, number>();
    for (const node of graph.nodes()) {
      if (node.op !== "MultiHeadAttention" || node.domain !== "com.microsoft") continue;
      if (isPackedAttention(node)) continue;
      const packing = packingOf(scope, node, types);
      if (typeof packing === "string") {
        ctx.decide({ node: node.name, kind: "skipped", rule: "pack-attention", why: packing });
        continue;
      }
      const { projections, heads, dtype } = packing;
      const count = projections.length;
      const part = count === 3 ? "qkv" : "kv";
      const name = `${node.name}/${part}`;
      const flat = mergedProduct(patch, projections, { heads, name, dtype });
      const width = projections[0]!.width / heads;
      const shape = patch.constant(i64Tensor([0, 0, heads, count, width]), `${name}.shape`);
      const [packed] = patch.node({ op: "Reshape", name: `${name}/Reshape`, inputs: [flat, shape] });
      const rest = node.inputs.slice(BIAS);
      const inputs = count === 3 ? [packed, null, null] : [node.inputs[0]!, packed, null];
      patch.replace(node, { inputs: trimmed([...inputs, ...rest]) });
      counts.set(part, (counts.get(part) ?? 0) + 1);
    }
    patch.apply();
    for (const [to, count] of [...counts].sort())
      ctx.decide({ node: "", kind: "applied", rule: "pack-attention", to, count });
  },
});

/** Inputs without those left out at the end. */
function trimmed(inputs: readonly (ValueId | null)[]): readonly (ValueId | null)[] {
  const last = inputs.findLastIndex((id) => id !== null);
  return inputs.slice(0, last + 1);
}
