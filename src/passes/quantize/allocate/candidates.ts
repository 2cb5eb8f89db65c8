import { elementCount } from "../../../ir/dtype.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../../ir/tensor.ts";
import type { PassContext } from "../../pass.ts";
import { fittingOf } from "../fitting.ts";
import type { Guard } from "../guards.ts";
import type { LayerBias } from "../layer-bias.ts";
import { type Choice, plan, type QuantizeWeightsOptions, type Shared, STRICTNESS, shared } from "../plan.ts";
import { type Written, write } from "../write.ts";
import { type DynamicForm, dynamicForm, dynamicLayers } from "./dynamic.ts";

/** Formats to choose from: those of weights, and integers whose inputs are rounded while they run. */
export type AllocatedFormat = Choice | "a8w8";

/** One form a weight can be stored in. */
export interface Candidate {
  readonly format: AllocatedFormat;
  /** Bytes of everything stored: data, scales, zero points. */
  readonly bytes: number;
  /** The weight as it will be stored; `null` when it stays as it is. */
  readonly written: Written | null;
  /** The layer's bias, when it takes up what the mean of the output changes by. */
  readonly bias: LayerBias | null;
  /** How the layer runs on integers; `null` for formats of weights. */
  readonly dynamic: DynamicForm | null;
}

/** A weight to choose a format for. */
export interface Candidates {
  /** Name of the first layer that reads it, for reports. */
  readonly name: string;
  readonly shared: Shared;
  readonly tensor: Tensor;
  readonly elements: number;
  readonly guard: Guard | null;
  /** At least one, smallest first. */
  readonly options: readonly Candidate[];
}

/** Layers that a guard protects get at least this. */
const GUARDED_FROM = STRICTNESS.indexOf("w8");

const strictness = (f: AllocatedFormat): number => (f === "a8w8" ? -1 : STRICTNESS.indexOf(f));

/** Whether names tell all layers of a weight apart from others. */
function addressable(s: Shared, count: ReadonlyMap<string, number>): boolean {
  return s.uses.every((u) => u.layer.node.name !== "" && count.get(u.layer.node.name) === 1);
}

/** One weight in one format; `null` where the target cannot store it so. */
function candidate(s: Shared, format: Choice, o: QuantizeWeightsOptions, ctx: PassContext): Candidate | null {
  const { tensor } = s.uses[0]!.layer;
  if (format === "f32")
    return { format, bytes: tensorBytes(tensor), written: null, bias: null, dynamic: null };
  const { graph } = ctx.model;
  // The patch is never applied: only the derivations it would store are of interest.
  const patch = new PatchBuilder(graph, "allocate-bits");
  const as = { ...s, format };
  const fitting = fittingOf(graph, as, o, ctx, new Map());
  const written = write(graph, patch, as, { options: o, fitting }, ctx);
  if (written === null) return null;
  return {
    format,
    bytes: written.stored.reduce((n, t) => n + tensorBytes(t), 0),
    written,
    bias: (written.fitted?.correction ?? null) === null ? null : fitting.bias,
    dynamic: null,
  };
}

/**
 * Every weight that `quantize-weights` would touch with these options, in all formats the target can store it in. The
 * same derivations make the candidates and what is stored later.
 */
export async function candidatesOf(
  formats: readonly AllocatedFormat[],
  guards: boolean,
  o: QuantizeWeightsOptions,
  ctx: PassContext,
): Promise<Candidates[]> {
  const { graph } = ctx.model;
  const count = new Map<string, number>();
  for (const n of graph.nodes()) count.set(n.name, (count.get(n.name) ?? 0) + 1);
  const quiet: PassContext = { ...ctx, decide() {} };
  const stored = formats.filter((f) => f !== "a8w8");
  const layers = stored.length < formats.length ? dynamicLayers(guards, ctx) : null;
  const out: Candidates[] = [];
  for (const s of shared(graph, plan(graph, o, ctx), ctx)) {
    const { layer, guard } = s.uses.find((u) => u.guard !== null) ?? s.uses[0]!;
    const { name } = layer.node;
    if (!addressable(s, count)) {
      ctx.decide({ node: name, kind: "skipped", rule: "unnamed", why: "its node name is not unique" });
      continue;
    }
    const able = stored.flatMap((f) => candidate(s, f, o, quiet) ?? []);
    const floor = guards && guard !== null;
    const safe = able.filter((c) => !floor || strictness(c.format) >= GUARDED_FROM);
    const dynamic = layers === null || floor ? null : await dynamicForm(s, layers, ctx);
    if (dynamic !== null)
      safe.push({ format: "a8w8", bytes: dynamic.bytes, written: null, bias: null, dynamic });
    const options = safe.length > 0 ? safe : [candidate(s, "f32", o, quiet)!];
    options.sort((a, b) => a.bytes - b.bytes);
    out.push({
      name,
      shared: s,
      tensor: layer.tensor,
      elements: elementCount(layer.tensor.dims),
      guard,
      options,
    });
  }
  return out;
}
