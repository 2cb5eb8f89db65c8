import { type Anatomy, anatomy, type Layer, type LayerKind } from "../../ir/anatomy/index.ts";
import type { NodeId } from "../../ir/graph.ts";
import type { PassContext } from "../pass.ts";

/**
 * Why a layer gets more bits than the rest. `edge`: first or last layer on the way of the sample; `time`: a layer that
 * turns the timestep or an added condition into an embedding; `sampler`: changes the resolution; `shortcut`: the linear
 * bypass of a block.
 */
export type Guard = "edge" | "time" | "sampler" | "shortcut";

const BY_KIND: Partial<Record<LayerKind, Guard>> = {
  first: "edge",
  last: "edge",
  "time.mlp": "time",
  "cond.mlp": "time",
  downsample: "sampler",
  upsample: "sampler",
  shortcut: "shortcut",
};

function guardOf(layer: Layer): Guard | undefined {
  return layer.edge !== null ? "edge" : BY_KIND[layer.kind];
}

/** Which layers are guarded and why. */
export function guardedLayers(ctx: Pick<PassContext, "model" | "shapes">): ReadonlyMap<NodeId, Guard> {
  const found: Anatomy = anatomy(ctx.model, ctx.shapes());
  const out = new Map<NodeId, Guard>();
  for (const layer of found.layers) {
    const guard = guardOf(layer);
    if (guard !== undefined) out.set(layer.node, guard);
  }
  return out;
}
