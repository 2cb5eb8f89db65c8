import { dimSymbols, substitute } from "../../ir/dim.ts";
import type { ValueId } from "../../ir/graph.ts";
import type { PassContext } from "../pass.ts";

/** Side of an image, tokens of a condition and samples in a batch where the model leaves them open. */
const ASSUMED = { side: 64, tokens: 77, batch: 2 };

/** Elements of values of a graph whose inputs may have open lengths. */
export interface Lengths {
  /** `null` where the shape is not known at all. */
  elements(id: ValueId): number | null;
  /** Length of every symbol. */
  readonly bindings: Readonly<Record<string, number>>;
  /** Symbols that a length was assumed for. */
  readonly assumed: readonly string[];
}

/** Lengths as the recorded calls have them, else assumed ones: layers are compared with each other only. */
export function lengthsOf(ctx: Pick<PassContext, "model" | "shapes" | "oracle">): Lengths {
  const bindings: Record<string, number> = {};
  const assumed: string[] = [];
  const feeds = ctx.oracle?.calls[0]?.feeds;
  for (const id of ctx.model.graph.inputs) {
    const { name, type } = ctx.model.graph.value(id);
    if (type?.kind !== "tensor" || type.shape === null) continue;
    const rank = type.shape.length;
    for (const [axis, d] of type.shape.entries()) {
      if (typeof d === "number") continue;
      for (const symbol of dimSymbols(d)) {
        if (symbol in bindings) continue;
        const recorded = feeds?.get(name)?.dims[axis];
        if (recorded === undefined) assumed.push(symbol);
        const guess = axis === 0 ? ASSUMED.batch : rank === 4 ? ASSUMED.side : ASSUMED.tokens;
        bindings[symbol] = recorded ?? guess;
      }
    }
  }
  const shapes = ctx.shapes();
  return {
    bindings,
    assumed,
    elements(id) {
      let size = 1;
      for (const d of shapes.shape(id) ?? [null]) {
        const n = d === null ? null : substitute(d, bindings);
        if (typeof n !== "number") return null;
        size *= n;
      }
      return size;
    },
  };
}
