import type { PassContext } from "./pass.ts";

/** Lengths of symbolic dims as the recorded calls have them. */
export function recordedLengths(ctx: Pick<PassContext, "model" | "oracle">): Record<string, number> {
  const out: Record<string, number> = {};
  const feeds = ctx.oracle?.calls[0]?.feeds;
  for (const id of ctx.model.graph.inputs) {
    const { name, type } = ctx.model.graph.value(id);
    const dims = feeds?.get(name)?.dims;
    if (type?.kind !== "tensor" || type.shape === null || dims === undefined) continue;
    for (const [axis, d] of type.shape.entries()) if (typeof d === "string") out[d] = dims[axis]!;
  }
  return out;
}
