import { definePass } from "../pass.ts";
import { rewriteToFixedPoint } from "../rewrite.ts";
import { identityRules } from "./rules/identity.ts";
import { reshapeRules } from "./rules/reshape.ts";
import { transposeRules } from "./rules/transpose.ts";

export const simplify = definePass<Record<string, never>>({
  name: "simplify",
  family: "clean",
  summary: "Removes operations that do nothing and merges chains of reshapes, transposes and slices",
  doc: `Local rewrites to a fixed point: identities (Identity, Dropout at inference, casts to the same type, additions
of 0, multiplications by 1, full slices, empty pads), reshapes (a computed target becomes a constant one wherever at
most one symbolic axis is left to infer; chains become one Reshape), transposes (composed, dropped, or turned into a
Reshape when only axes of length 1 move; an Einsum that only moves axes is one), and slices that together cut an axis into pieces (one Split).`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(graph, [...identityRules, ...reshapeRules, ...transposeRules], ctx, "simplify");
  },
});
