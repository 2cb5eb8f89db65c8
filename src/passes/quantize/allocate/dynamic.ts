import type { NodeId } from "../../../ir/graph.ts";
import { type Tensor, tensorBytes } from "../../../ir/tensor.ts";
import { dequantizeTensor } from "../../../runtime/kernels/dequantize.ts";
import { transposeTensor } from "../../../runtime/kernels/transpose.ts";
import type { PassContext } from "../../pass.ts";
import { dynamicObstacle, dynamicWeight } from "../dynamic.ts";
import type { Shared } from "../plan.ts";
import { findSites, type StaticLayer } from "../static/sites.ts";

/** Rule that keeps 16-bit additions exact where the target needs one. */
const RULE = "pairs";

/** Products that are not known to have as many rows gain nothing from integers. */
const MIN_ROWS = 16;

/** A linear layer on integers whose input is rounded while it runs. */
export interface DynamicForm {
  readonly layer: StaticLayer;
  readonly bytes: number;
  /** The floats that the stored integers stand for, in the shape of the weight as the layer reads it. */
  readonly weight: Tensor;
}

/** The saturation rule of the target. */
export function dynamicRule(ctx: PassContext): "pairs" | "none" {
  return ctx.target?.integer?.saturates === true ? RULE : "none";
}

/** Layers that can run so, by node, guarded ones left out unless `guards` is off. */
export function dynamicLayers(guards: boolean, ctx: PassContext): ReadonlyMap<NodeId, StaticLayer> {
  const { sites } = findSites(ctx.model, ctx.shapes(), {
    match: null,
    exclude: null,
    minElements: 1,
    guards,
  });
  const able = sites.filter((s) => dynamicObstacle(s, MIN_ROWS, ctx) === null);
  return new Map(able.flatMap((s) => s.layers.map((l) => [l.node.id, l] as const)));
}

/** The form of a weight that one such layer reads; `null` for weights of other or several layers. */
export async function dynamicForm(
  s: Shared,
  layers: ReadonlyMap<NodeId, StaticLayer>,
  ctx: PassContext,
): Promise<DynamicForm | null> {
  const [use, ...others] = s.uses;
  const layer = layers.get(use!.layer.node.id);
  if (layer === undefined || others.length > 0) return null;
  const { data, scale } = await dynamicWeight(layer, dynamicRule(ctx), ctx);
  const floats = dequantizeTensor({ data, scale, zeroPoint: null }, { axis: layer.outAxis });
  return {
    layer,
    bytes: tensorBytes(data) + tensorBytes(scale),
    weight: use!.layer.role.outAxis === layer.outAxis ? floats : transposeTensor(floats, [1, 0]),
  };
}
