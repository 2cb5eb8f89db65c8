import { tensorBytes } from "../../ir/tensor.ts";
import type { PassContext } from "../pass.ts";
import type { Layer } from "./layers.ts";

/** Layers a pass leaves alone, gathered by reason. */
export interface LeftLayers {
  leave(layer: Layer, rule: string, why: string): void;
  /** One decision per reason, with the number of its layers and their bytes. */
  decide(ctx: Pick<PassContext, "decide">): void;
}

/** An empty account of {@link LeftLayers}. */
export function leftLayers(): LeftLayers {
  const byReason = new Map<string, { readonly rule: string; readonly layers: Layer[] }>();
  return {
    leave(layer, rule, why) {
      const known = byReason.get(why);
      if (known === undefined) byReason.set(why, { rule, layers: [layer] });
      else known.layers.push(layer);
    },
    decide(ctx) {
      for (const [why, { rule, layers }] of byReason)
        ctx.decide({
          node: layers.length === 1 ? layers[0]!.node.name : "",
          kind: "skipped",
          rule,
          why,
          count: layers.length,
          bytesBefore: layers.reduce((n, l) => n + tensorBytes(l.tensor), 0),
        });
    },
  };
}
