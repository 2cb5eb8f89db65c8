import { floats } from "../../calibrate/dense.ts";
import { isFloat } from "../../ir/dtype.ts";
import { attrInt, type Graph, type Node } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { takes } from "../../targets/check/forms.ts";
import { Emit, type Lowered } from "../../targets/lower/emit.ts";
import {
  castOfComparison,
  expandAsProduct,
  gatherAsProduct,
  gatherAsSlice,
  MOST_ROWS,
  PARTS,
  type Table,
  tableOf,
} from "../../targets/lower/lookup.ts";
import type { Target } from "../../targets/target.ts";
import { definePass, type PassContext } from "../pass.ts";

type Missing = keyof typeof PARTS;

/** Whether a target lacks an operator and has what it can be written with. */
function writesOut(target: Target, op: string): op is Missing {
  const { operators } = target.limits;
  if (operators === undefined || !(op in PARTS) || takes(operators, { domain: "", op })) return false;
  return PARTS[op as Missing].every((part) => takes(operators, { domain: "", op: part }));
}

/** The table a Gather looks rows up in, with its numbers; why there is none. Reads the constant. */
async function tableFor(node: Node, graph: Graph, ctx: PassContext): Promise<Table | { why: string }> {
  const data = graph.constant(node.inputs[0]);
  if (data === null || !isFloat(data.dtype) || (attrInt(node, "axis") ?? 0) !== 0)
    return { why: "it does not look up rows of a constant" };
  const rows = data.dims[0] ?? 0;
  if (rows > MOST_ROWS)
    return { why: `the table has ${rows} rows, in half precision positions are exact up to ${MOST_ROWS}` };
  const bytes = await ctx.reader.read(data);
  return tableOf(data, bytes, floats({ dtype: data.dtype, dims: data.dims, bytes }));
}

/** What takes the place of a node; `null` where it may stay. */
async function substitute(e: Emit, target: Target, ctx: PassContext): Promise<Lowered | null> {
  const { graph, node } = e;
  if (node.op === "Cast") return castOfComparison(e, (op) => writesOut(target, op));
  if (!writesOut(target, node.op)) return null;
  if (node.op === "Expand") return expandAsProduct(e);
  if (node.op !== "Gather") return null;
  const index = graph.constant(node.inputs[1]);
  if (index !== null) return gatherAsSlice(e, index);
  const table = await tableFor(node, graph, ctx);
  return "why" in table ? table : gatherAsProduct(e, table);
}

export const spellLookups = definePass<Record<string, never>>({
  name: "spell-lookups",
  family: "legalise",
  summary:
    "Writes lookups, repetitions and comparisons in arithmetic where the target has no operators for them",
  doc: `A Gather of rows becomes a product with a matrix of one hit per row: positions are compared with every row's number
by differences, and the hit is divided by the number of hits, so that a position that no row has gives NaN and not
something plausible. Positions below zero count from the end, as they do in Gather. A Gather of constant positions that
follow each other becomes a Slice. Expand of floats becomes a product with ones, of integers a Concat of copies, and a comparison that is converted to
numbers becomes Ceil of a clipped difference. All of it gives the same numbers to the bit, but for the sign of zeros and
for NaN in what is compared.

Left alone, with the reason: tables of more than ${MOST_ROWS} rows, since processors that compute in half precision could
not tell their numbers apart; tables with infinite numbers and tables of integers; more than a few copies of integers; lengths that are not known. Done for targets whose
list of operators lacks one of these and has what it is made of, after weights have their format: a table is no layer.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  readsWeights: true,
  async run(graph, _options, ctx) {
    const { target } = ctx;
    const opset = ctx.model.opsets.get("") ?? 1;
    // Axes of Unsqueeze and ReduceSum are inputs from here on.
    if (target === null || opset < 13) return;
    const patch = new PatchBuilder(graph, "spell-lookups");
    const shapes = ctx.shapes();
    const counts = new Map<string, number>();
    for (const node of graph.nodes()) {
      if (node.domain !== "") continue;
      const made = await substitute(new Emit({ graph, node, shapes, patch, opset }), target, ctx);
      if (made === null) continue;
      if (typeof made === "object") {
        ctx.decide({ node: node.name, kind: "skipped", rule: "spell-lookup", from: node.op, why: made.why });
        continue;
      }
      patch.redirect(node.outputs[0]!, made).remove(node.id);
      counts.set(node.op, (counts.get(node.op) ?? 0) + 1);
    }
    patch.apply();
    for (const [from, count] of counts)
      ctx.decide({ node: "", kind: "applied", rule: "spell-lookup", from, count });
  },
});
