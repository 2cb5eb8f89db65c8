import { graphCost } from "../ir/cost.ts";
import type { Model } from "../ir/graph.ts";
import type { Bindings } from "../passes/pass.ts";

/** Lengths by symbol: those given for `input.axis` hold for the symbol of that axis. */
export function symbolBindings(model: Model, lengths: Bindings): Bindings {
  const out: Record<string, number> = { ...lengths };
  for (const id of model.graph.inputs) {
    const { name, type } = model.graph.value(id);
    if (type?.kind !== "tensor") continue;
    for (const [axis, dim] of (type.shape ?? []).entries()) {
      const given = lengths[`${name}.${axis}`];
      if (given !== undefined && typeof dim === "string") out[dim] = given;
    }
  }
  return out;
}

/** FLOPs of one run at the given lengths; `null` when a dim of a graph input stays open. */
export function flopsOf(model: Model, lengths: Bindings): number | null {
  const bindings = symbolBindings(model, lengths);
  const open = model.graph.inputs.some((id) => {
    const { type } = model.graph.value(id);
    return (
      type?.kind === "tensor" && (type.shape ?? ["?"]).some((d) => typeof d === "string" && !(d in bindings))
    );
  });
  return open ? null : graphCost(model, { bindings }).flops;
}
