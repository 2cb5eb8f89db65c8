import { join } from "node:path";
import { observeRanges } from "../calibrate/ranges.ts";
import type { Model } from "../ir/graph.ts";
import { findPass } from "../passes/index.ts";
import type { Bindings, RangeStatistics } from "../passes/pass.ts";
import type { OutputFidelity } from "../report/types.ts";
import type { PortType } from "../runtime/index.ts";
import type { Target } from "../targets/target.ts";
import { compareOnInputs } from "../verify/index.ts";
import { fixedDims, withSession } from "../verify/sessions.ts";
import { timeInputs } from "./component-inputs.ts";
import { arithmeticOf, checkHere } from "./runnable.ts";
import type { SourceComponent } from "./source.ts";
import type { BuildContext, Built } from "./targets.ts";

/** Whether a component is judged along trajectories instead of on its own outputs. */
export function isSampled(ctx: BuildContext, component: SourceComponent): boolean {
  return component.info.denoiser && ctx.prepared.source.pipeline.scheduler !== null;
}

/**
 * Compares the outputs of a component that nobody samples (text encoder, decoder, a single model) with the original's
 * on inputs it meets in the pipeline. `null` with a note when it cannot be run, without one when there is nothing to
 * judge: exact passes are proven elsewhere.
 */
export async function outputFidelity(
  ctx: BuildContext,
  target: Target,
  component: SourceComponent,
  built: Built,
): Promise<{ readonly fidelity: OutputFidelity | null; readonly notes: readonly string[] }> {
  const nothing = { fidelity: null, notes: [] };
  const lossy = built.passes.some((p) => p.changed && findPass(p.name)?.effect === "lossy");
  if (!ctx.prepared.plan.verify || isSampled(ctx, component) || !lossy) return nothing;
  const { name } = component.info;
  const obstacle = await ctx.obstacle(component);
  if (obstacle !== null) return { fidelity: null, notes: [`${name}: outputs not compared: ${obstacle}`] };
  const path = join(ctx.output.staging, built.written.path);
  const found = await checkHere(target, () =>
    withSession(ctx.runtime, component.path, {}, (before) =>
      withSession(ctx.runtime, path, { arithmetic: arithmeticOf(target) }, async (after) => {
        const lengths = { ...built.component.shape, ...fixedDims(before, after) };
        const ports = after.inputs;
        const inputs = await ctx.inputs({ component, ports, purpose: "verification", lengths });
        const { sets, outputs, sqnr } = await compareOnInputs(before, after, inputs.sets);
        return { inputs: inputs.source, sets, outputs, sqnr };
      }),
    ),
  );
  if (found.why !== null) return { fidelity: null, notes: [`${name}: outputs not compared: ${found.why}`] };
  return { fidelity: found.value, notes: [] };
}

function portsOf(model: Model): PortType[] {
  const { graph } = model;
  return graph.inputs.flatMap((id) => {
    const { name, type, init } = graph.value(id);
    return init === null && type?.kind === "tensor" && type.shape !== null
      ? [{ name, dtype: type.dtype, shape: type.shape }]
      : [];
  });
}

/**
 * Ranges of activations of a component that nobody samples, over inputs it meets in the pipeline; `null` when it is too
 * large to be run unasked, or a denoiser without a schedule, whose ranges at made-up times would prove nothing.
 */
export async function outputRanges(
  ctx: BuildContext,
  component: SourceComponent,
  model: Model,
  lengths: Bindings,
): Promise<RangeStatistics | null> {
  if ((await ctx.obstacle(component)) !== null || timeInputs(component).size > 0) return null;
  const { sets } = await ctx.inputs({ component, ports: portsOf(model), purpose: "calibration", lengths });
  return await observeRanges(model, ctx.runtime, sets);
}
