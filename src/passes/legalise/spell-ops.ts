import { type Node, opKey } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Capability, Emit, LOWERINGS, type LoweringRow } from "../../targets/lower/index.ts";
import { definePass } from "../pass.ts";

/** Rows by operator key, so that a graph walk costs a look-up per node. */
const ROWS: ReadonlyMap<string, LoweringRow> = new Map(LOWERINGS.map((row) => [row.op, row]));

const rowOf = (node: Node): LoweringRow | undefined => ROWS.get(opKey(node));

const CAPABILITIES = [...new Set(LOWERINGS.map((row) => row.capability))];

/** Wanted spelling by capability; `null` takes the target's. */
export type SpellOptions = Readonly<Record<Capability, string | null>>;

function spellings(capability: Capability): string[] {
  return [...new Set(LOWERINGS.filter((r) => r.capability === capability).flatMap((r) => Object.keys(r.to)))];
}

export const spellOps = definePass<SpellOptions>({
  name: "spell-ops",
  family: "legalise",
  summary: "Writes norms, activations and attention in the spelling the target has kernels for",
  doc: `The opposite of fusing: an operator the target lacks is written out. GroupNormalization becomes Reshape,
InstanceNormalization, Reshape, Mul, Add where that is the form with a kernel; LayerNormalization, RMSNormalization,
Gelu, QuickGelu, Swish and the attention operators become primitives. Statistics of norms over narrow types are computed
in fp32, as the operators' definitions say, and attention scales query and key by the root of the scale each, so that
their product has headroom in fp16.

Operators that a target takes in another form only get it: heads of the standard Attention are split where an importer
wants four axes, and packed queries, keys and values are taken apart where kernels read them apart.

Left alone, with the reason: operators whose extra outputs are read, attention with a past or causal mask, norms of
unknown rank. Which spelling a target wants is in its descriptor; options override it.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(
      CAPABILITIES.map((c) => [
        c,
        {
          enum: [...spellings(c), null],
          default: null,
          description: `Spelling of ${c}; null takes the target's.`,
        },
      ]),
    ),
  },
  version: 2,
  run(graph, options, ctx) {
    const opset = ctx.model.opsets.get("") ?? 1;
    const shapes = ctx.shapes();
    const patch = new PatchBuilder(graph, "spell-ops");
    const counts = new Map<string, { from: string; to: string; count: number }>();
    for (const node of graph.nodes()) {
      const row = rowOf(node);
      if (row === undefined) continue;
      const wanted = options[row.capability] ?? ctx.target?.spelling[row.capability] ?? null;
      const lower = wanted === null ? undefined : row.to[wanted];
      if (wanted === null || lower === undefined) continue;
      const made = lower(new Emit({ graph, node, shapes, patch, opset, target: ctx.target }));
      if (made === null) continue;
      if (typeof made === "object") {
        ctx.decide({
          node: node.name,
          kind: "skipped",
          rule: `spell-${row.capability}`,
          why: made.why,
          from: row.op,
          to: wanted,
        });
        continue;
      }
      patch.redirect(node.outputs[0]!, made).remove(node.id);
      const key = `${row.op}>${wanted}`;
      const line = counts.get(key) ?? { from: row.op, to: wanted, count: 0 };
      line.count++;
      counts.set(key, line);
    }
    patch.apply();
    for (const line of counts.values()) ctx.decide({ node: "", kind: "applied", rule: "spell", ...line });
  },
});
