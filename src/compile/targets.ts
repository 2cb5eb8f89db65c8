import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import type { Bindings, SamplingFacts } from "../passes/pass.ts";
import { countNodes, type PassReport } from "../passes/runner.ts";
import type { ComponentPass, ComponentReport, Downgrade, Exactness } from "../report/types.ts";
import type { Runtime } from "../runtime/index.ts";
import { target as targetById } from "../targets/index.ts";
import type { Target } from "../targets/target.ts";
import { targetFolder } from "../targets/variant.ts";
import {
  type ChainOptions,
  type ChainResult,
  runChain,
  type WrittenComponent,
  writeComponent,
} from "./build.ts";
import type { Calibration } from "./calibration.ts";
import { type CheckedGraph, checkGraphs, magnitudesIn } from "./checked.ts";
import { isSampled, outputRanges } from "./component-fidelity.ts";
import type { FindInputs } from "./component-inputs.ts";
import type { OnCompileEvent } from "./events.ts";
import { proveExact } from "./exactness.ts";
import { flopsOf } from "./flops.ts";
import { splitBuckets, writeGraphSet } from "./graph-set.ts";
import type { OutputFolder } from "./output.ts";
import { portsOf } from "./package/write.ts";
import type { ComponentPlan } from "./plan.ts";
import type { Prepared } from "./prepare.ts";
import { arithmeticOf, checkHere, type Obstacle } from "./runnable.ts";
import { deduceBindings } from "./shapes.ts";
import { componentBytes, type SourceComponent } from "./source.ts";
import { splitBudget } from "./split/index.ts";
import { twinNotes, twinnedHere } from "./twins.ts";

/** One component built for one target. */
export interface Built {
  readonly target: string;
  readonly component: ComponentReport;
  readonly passes: readonly ComponentPass[];
  readonly exactness: Exactness | null;
  readonly notes: readonly string[];
  readonly written: WrittenComponent;
  /** Inputs and outputs of the model. */
  readonly ports: ReturnType<typeof portsOf>;
  /** Version of the standard operators it is written in. */
  readonly opset: number;
  /** What the target's checker says of the written model, graph by graph. */
  readonly checks: readonly CheckedGraph[];
  /** Operators without a CPU kernel: whatever runs the model here runs standard ones in their place. */
  readonly twin: readonly string[];
  /** What passes left for whoever samples. */
  readonly sampling: SamplingFacts;
}

/** What building needs besides the plan. */
export interface BuildContext {
  readonly prepared: Prepared;
  readonly runtime: Runtime;
  readonly output: OutputFolder;
  /** The final folder, for messages. */
  readonly out: string;
  readonly runner: ChainOptions["runner"];
  readonly onEvent: OnCompileEvent;
  /** What is measured of a denoiser on the original's calibration trajectory. */
  readonly calibration: Calibration;
  readonly obstacle: Obstacle;
  /** What components that nobody samples are fed. */
  readonly inputs: FindInputs;
  readonly signal: AbortSignal | undefined;
  readonly counter: { done: number; readonly total: number };
}

/** Lengths asked for a component on a target, or on all of them, by symbol or `input.axis`. */
function askedFor(prepared: Prepared, component: SourceComponent, target: string | null): Bindings {
  const { recipe } = prepared;
  const all = { ...recipe.shape, ...(target === null ? {} : recipe.targets.get(target)?.shape) };
  return Object.fromEntries(Object.entries(all).filter(([dim]) => component.info.dims.includes(dim)));
}

/** Lengths asked for, and those the pipeline implies. */
function lengthsFor(prepared: Prepared, component: SourceComponent, target: string | null): Bindings {
  const asked = askedFor(prepared, component, target);
  return { ...deduceBindings(component.info, asked).found, ...asked };
}

/** Whether reference inputs still fit after `bindings` fixed some dims. */
function fits(component: SourceComponent, feeds: ReadonlyMap<string, Dense>, model: Model): boolean {
  const { graph } = model;
  return graph.inputs.every((id) => {
    const { name, type } = graph.value(id);
    const feed = feeds.get(name);
    if (feed === undefined) return component.model.graph.value(id).init !== null;
    if (type?.kind !== "tensor" || type.shape === null) return true;
    return (
      type.shape.length === feed.dims.length &&
      type.shape.every((d, axis) => typeof d !== "number" || d === feed.dims[axis])
    );
  });
}

async function proof(
  ctx: BuildContext,
  component: SourceComponent,
  target: Target,
  exact: Model,
): Promise<{ exactness: Exactness | null; note: string | null }> {
  const { prepared, runtime } = ctx;
  const { name, denoiser } = component.info;
  if (!prepared.plan.verify) return { exactness: null, note: null };
  const skipped = (why: string) => ({ exactness: null, note: `${name}: exactness not proven: ${why}` });
  const obstacle = await ctx.obstacle(component);
  if (obstacle !== null) return skipped(obstacle);
  ctx.onEvent({
    kind: "stage",
    target: target.id,
    component: name,
    stage: "proving exactness",
    step: ctx.counter.done,
    steps: ctx.counter.total,
  });
  const reference = denoiser
    ? prepared.source.reference.filter((feeds) => fits(component, feeds, exact))
    : [];
  const bindings = lengthsFor(prepared, component, target.id);
  const { seed } = prepared.plan;
  const found = await checkHere(target, () =>
    proveExact({ runtime, component, target: target.id, exact, reference, bindings, seed }),
  );
  return found.value === null ? skipped(found.why) : { exactness: found.value, note: null };
}

/** What passes may measure: a denoiser on its trajectory, anything else on the inputs it meets in the pipeline. */
function measures(
  ctx: BuildContext,
  component: SourceComponent,
  lengths: Bindings,
  target: Target | null,
): Pick<ChainOptions, "ranges" | "statistics" | "cross" | "oracle" | "heldOut"> {
  const arithmetic = target === null ? "fused" : arithmeticOf(target);
  const sampled = ctx.calibration.of(component, lengths, arithmetic);
  if (isSampled(ctx, component)) return sampled;
  return { ...sampled, ranges: (model) => outputRanges(ctx, component, model, lengths) };
}

async function buildOne(
  ctx: BuildContext,
  plan: ComponentPlan,
  component: SourceComponent,
  shared: { readonly chain: ChainResult; readonly reports: readonly PassReport[] },
  target: Target,
  steps: ComponentPlan["targets"][number],
): Promise<Built> {
  const { prepared } = ctx;
  const name = plan.component;
  const { halfUnsafe } = component.info;
  const shape = lengthsFor(prepared, component, target.id);
  const options: ChainOptions = {
    runner: { ...ctx.runner, ...(halfUnsafe !== undefined && { halfUnsafe }) },
    target,
    component: name,
    trail: shared.reports.map((r) => r.name),
    ...measures(ctx, component, shape, target),
    onEvent: ctx.onEvent,
    counter: ctx.counter,
  };
  const start = shared.chain.model;
  const split =
    steps.split === undefined ? null : await splitBudget(start, steps.passes, steps.split, options);
  const chain = split?.chain ?? (await runChain(start, steps.passes, options));
  const { exactness, note } = await proof(ctx, component, target, chain.exact);
  const path = `${targetFolder(target)}/${component.file}`;
  const how = {
    output: ctx.output,
    out: ctx.out,
    runtime: ctx.runtime,
    layout: prepared.recipe.output,
    target: target.id,
    component: name,
    onEvent: ctx.onEvent,
  };
  const graphs = await splitBuckets(chain.model, { runner: ctx.runner, target });
  const written =
    graphs === null ? await writeComponent(chain.model, path, how) : await writeGraphSet(graphs, path, how);
  const model = graphs?.models[0] ?? chain.model;
  const twin = twinnedHere(model);
  const ranges = magnitudesIn(model, chain.magnitudes);
  const checks = await checkGraphs(written, (file) => ctx.output.file(file), { target, shape, ranges });
  const reports = [...shared.reports, ...chain.passes];
  ctx.counter.done++;
  const before = flopsOf(component.model, shape);
  const after = flopsOf(model, shape);
  return {
    target: target.id,
    component: {
      name,
      file: written.path,
      bytes: { before: componentBytes(component), after: written.files.reduce((n, f) => n + f.bytes, 0) },
      nodes: { before: countNodes(component.model.graph), after: countNodes(model.graph) },
      flops: before === null || after === null ? null : { before, after },
      shape,
      estimate: checks[0]!.check.estimate,
      fidelity: null,
      split: split?.report ?? null,
    },
    passes: reports.map(({ published: _, ...p }) => ({ component: name, ...p })),
    exactness,
    notes: [
      ...(note === null ? [] : [note]),
      ...twinNotes({ original: component.model, build: twin }).map((n) => `${name}: ${n}`),
      ...(steps.split !== undefined && split === null
        ? [`${name}: the error budget was not split: the model could not be sampled; passes ran as listed`]
        : []),
    ],
    written,
    ports: portsOf(model),
    opset: model.opsets.get("") ?? target.opset.emit,
    checks,
    twin,
    sampling: Object.assign({}, ...reports.map((r) => r.published ?? {})),
  };
}

/** Passes, proofs and files of every component for every target, target by target in the order of the plan. */
export async function buildAll(ctx: BuildContext): Promise<ReadonlyMap<string, readonly Built[]>> {
  const { prepared } = ctx;
  const built = new Map<string, Built[]>(prepared.targets.map((t) => [t.id, []]));
  for (const plan of prepared.plan.components) {
    const component = prepared.source.components.find((c) => c.info.name === plan.component)!;
    const chain = await runChain(component.model, plan.shared, {
      runner: ctx.runner,
      target: null,
      component: plan.component,
      trail: [],
      ...measures(ctx, component, lengthsFor(prepared, component, null), null),
      onEvent: ctx.onEvent,
      counter: ctx.counter,
    });
    const shared = { chain, reports: chain.passes };
    for (const steps of plan.targets) {
      const target = targetById(steps.target);
      built.get(target.id)!.push(await buildOne(ctx, plan, component, shared, target, steps));
    }
  }
  return built;
}

/** Decisions of a build that did otherwise than asked. */
export function downgradesOf(passes: readonly ComponentPass[]): Downgrade[] {
  return passes.flatMap((p) =>
    p.decisions
      .filter((d) => d.kind === "downgraded")
      .map((d): Downgrade => ({ component: p.component, pass: p.name, ...d })),
  );
}
