import { type Attr, floatAttr, stringAttr } from "../../ir/graph.ts";
import { type ActivationMatch, matchActivation } from "../../ir/pattern/activation.ts";
import { definePass } from "../pass.ts";
import { fuseMatches, importContrib } from "./driver.ts";

interface Spelling {
  readonly op: string;
  readonly domain: string;
  /** First opset of the standard domain that has it; 1 for contributed operators. */
  readonly opset: number;
  readonly attrs: Readonly<Record<string, Attr>>;
}

const standardGelu = (approximate: string): Spelling => ({
  op: "Gelu",
  domain: "",
  opset: 20,
  attrs: { approximate: stringAttr(approximate) },
});
const contrib = (op: string, attrs: Spelling["attrs"] = {}): Spelling => ({
  op,
  domain: "com.microsoft",
  opset: 1,
  attrs,
});

/** Operators a non-linearity can become, by option value. */
const SPELLINGS: Readonly<Record<string, Partial<Record<ActivationMatch["kind"], Spelling>>>> = {
  Gelu: { gelu: standardGelu("none"), "gelu-tanh": standardGelu("tanh") },
  "com.microsoft.Gelu": { gelu: contrib("Gelu"), "gelu-tanh": contrib("FastGelu") },
  QuickGelu: {
    // x · sigmoid(alpha · x): alpha 1 is SiLU.
    silu: contrib("QuickGelu", { alpha: floatAttr(1) }),
    "quick-gelu": contrib("QuickGelu", { alpha: floatAttr(1.702) }),
  },
  Swish: { silu: { op: "Swish", domain: "", opset: 24, attrs: { alpha: floatAttr(1) } } },
};

export interface FuseActivationOptions {
  readonly spelling: "Gelu" | "com.microsoft.Gelu" | "QuickGelu" | "Swish";
}

export const fuseActivation = definePass<FuseActivationOptions>({
  name: "fuse-activation",
  family: "fuse",
  summary: "Replaces written-out GELU and SiLU by one operator",
  doc: `Recognises x·sigmoid(x), and GELU through erf or tanh in every association exporters write. \`spelling\` says
what to write: the standard Gelu (opset 20), onnxruntime's Gelu and FastGelu, its QuickGelu (whose alpha 1 is SiLU), or
the standard Swish (opset 24). Each reads its input once instead of three to eight times.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      spelling: {
        enum: ["Gelu", "com.microsoft.Gelu", "QuickGelu", "Swish"],
        default: "Gelu",
        description: "Operator family to write; also decides which non-linearities are recognised.",
      },
    },
  },
  version: 1,
  run(graph, { spelling }, ctx) {
    const table = SPELLINGS[spelling]!;
    const kinds = Object.keys(table) as ActivationMatch["kind"][];
    const opset = ctx.model.opsets.get("") ?? 1;
    const count = fuseMatches(
      graph,
      ctx,
      `fuse-activation/${spelling}`,
      (scope, node) => matchActivation(scope, node, kinds),
      (patch, m, node) => {
        const to = table[m.kind]!;
        if (to.domain === "" && opset < to.opset)
          return { why: `${to.op} needs opset ${to.opset}, the model has ${opset}` };
        return patch.node({
          op: to.op,
          domain: to.domain,
          name: node.name,
          inputs: [m.x],
          attrs: to.attrs,
        })[0];
      },
    );
    if (count > 0 && Object.values(table).some((s) => s.domain !== "")) importContrib(ctx.model);
  },
});
