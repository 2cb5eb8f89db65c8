import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Diagnostic, diagnostic, fail } from "../diagnostics/index.ts";
import type { BudgetResult, ComponentReport, Report, TargetReport } from "../report/types.ts";
import { createRuntime, describeEnvironment, type Runtime } from "../runtime/index.ts";
import type { Target } from "../targets/target.ts";
import { VERSION } from "../version.ts";
import { checkBudgets } from "./budgets.ts";
import { openCalibration } from "./calibration.ts";
import { componentCheck, leaving, rejections } from "./checked.ts";
import { outputFidelity } from "./component-fidelity.ts";
import { findComponentInputs } from "./component-inputs.ts";
import { type BuildFacts, recipeHash, writeDescriptions } from "./describe.ts";
import { judge } from "./judge.ts";
import type { ManifestFile } from "./manifest.ts";
import { type OutputFolder, openOutput } from "./output.ts";
import { writePackage } from "./package/write.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { lockOf } from "./recipe/resolve.ts";
import { findObstacles } from "./runnable.ts";
import { hashSource } from "./source.ts";
import { type BuildContext, type Built, buildAll, downgradesOf } from "./targets.ts";
import { withTwins } from "./twins.ts";
import type { CompileOptions, CompileResult } from "./types.ts";

/** Rejects as soon as the signal fires; the work itself is left to end on its own. */
async function abortable<T>(signal: AbortSignal | undefined, during: string, work: Promise<T>): Promise<T> {
  if (signal === undefined) return await work;
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      try {
        fail("INTERRUPTED", { during });
      } catch (e) {
        reject(e);
      }
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  // The loser of the race must not count as unhandled.
  work.catch(() => {});
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Writes graph texts of a debugged run; they are no part of the build. */
function dumper(folder: string): (file: string, text: string) => void {
  let next = 0;
  return (file, text) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${String(next++).padStart(3, "0")}-${file}`), text);
  };
}

function stepsOf(prepared: Prepared): number {
  let steps = 0;
  for (const c of prepared.plan.components) {
    steps += c.shared.length;
    for (const t of c.targets) steps += t.passes.length + 1;
  }
  return steps + prepared.targets.length;
}

/** Notes on the formats a target takes for size only, once each. */
function formatNotes(built: readonly Built[]): string[] {
  const notes = new Set<string>();
  for (const b of built)
    for (const p of b.passes)
      for (const d of p.decisions)
        if (d.node === "" && d.kind === "applied" && d.why !== undefined) notes.add(d.why);
  return [...notes];
}

async function targetReport(
  ctx: BuildContext,
  target: Target,
  built: readonly Built[],
): Promise<TargetReport> {
  const passes = built.flatMap((b) => b.passes);
  const components: ComponentReport[] = [];
  const outputNotes: string[] = [];
  for (const b of built) {
    const component = ctx.prepared.source.components.find((c) => c.info.name === b.component.name)!;
    const { fidelity, notes } = await outputFidelity(ctx, target, component, b);
    components.push({ ...b.component, fidelity });
    outputNotes.push(...notes);
  }
  const checked = built.flatMap((b) => b.checks.map((c) => ({ component: b.component.name, ...c })));
  const { components: models } = ctx.prepared.source;
  const judged = models.find((c) => c.info.denoiser) ?? models[0]!;
  const main = built.find((b) => b.component.name === judged.info.name)!;
  const verdict = await judge(ctx, target, judged, main);
  ctx.counter.done++;
  return {
    title: target.title,
    provider: target.provider,
    bytes: {
      before: components.reduce((n, c) => n + c.bytes.before, 0),
      after: components.reduce((n, c) => n + c.bytes.after, 0),
    },
    flops: main.component.flops,
    latency: verdict.latency,
    fidelity: verdict.fidelity,
    exactness: built.flatMap((b) => (b.exactness === null ? [] : [b.exactness])),
    components,
    passes,
    downgrades: downgradesOf(passes),
    leavesAccelerator: leaving(checked),
    checks: checked.map(componentCheck),
    notes: [...formatNotes(built), ...built.flatMap((b) => b.notes), ...outputNotes, ...verdict.notes],
  };
}

function warnings(prepared: Prepared): Diagnostic[] {
  const { plan, source } = prepared;
  if (plan.components.some((c) => c.lossy)) return [];
  const known = source.components.map((c) => c.info.name);
  return [diagnostic("NO_LOSSY_COMPONENT", { known }) as unknown as Diagnostic];
}

async function run(
  prepared: Prepared,
  output: OutputFolder,
  runtime: Runtime,
  options: CompileOptions,
): Promise<Report> {
  const now = options.now ?? (() => 0);
  const start = now();
  // Reading the input for its hash overlaps with the passes; a failure shows where the hash is needed.
  const input = hashSource(prepared.source);
  input.catch(() => {});
  const obstacle = findObstacles(runtime, options.verify === true);
  const calibration = openCalibration({
    prepared,
    runtime,
    obstacle,
    input,
    ...(options.signal !== undefined && { signal: options.signal }),
  });
  const ctx: BuildContext = {
    prepared,
    runtime,
    output,
    out: options.out,
    runner: {
      evaluator: runtime.evaluator,
      reader: runtime.reader,
      seed: prepared.plan.seed,
      ...(options.now !== undefined && { now: options.now }),
      ...(options.memory !== undefined && { memory: options.memory }),
      ...(options.signal !== undefined && { signal: options.signal }),
      ...(options.debug !== undefined && { debug: options.debug }),
      ...(options.dumpFolder !== undefined && { dump: dumper(options.dumpFolder) }),
      ...(options.stopAfter !== undefined && { budget: { left: options.stopAfter } }),
    },
    onEvent: options.onEvent ?? (() => {}),
    signal: options.signal,
    calibration,
    obstacle,
    inputs: findComponentInputs({ prepared, runtime, obstacle, signal: options.signal }),
    counter: { done: 0, total: stepsOf(prepared) },
  };
  const built = await buildAll(ctx).finally(() => calibration.release());
  const targets = new Map<string, TargetReport>();
  for (const target of prepared.targets)
    targets.set(target.id, await targetReport(ctx, target, built.get(target.id)!));
  const budgets: BudgetResult[] = checkBudgets(prepared.recipe.budgets, targets);
  const { onnxruntime } = await describeEnvironment();
  const packages: ManifestFile[] = [];
  for (const target of prepared.targets)
    packages.push(...(await writePackage(ctx, target, built.get(target.id)!, onnxruntime)));
  const facts: BuildFacts = {
    onnxruntime,
    packages,
    input: await input,
    lock: lockOf(
      prepared.recipe,
      prepared.source.components.map((c) => c.info),
    ),
  };
  const report: Report = {
    schema: 1,
    diffpress: VERSION,
    onnxruntime: facts.onnxruntime,
    input: facts.input,
    recipe: { sha256: recipeHash(facts) },
    seed: prepared.plan.seed,
    seconds: (now() - start) / 1000,
    peakBytes: options.memory?.() ?? 0,
    targets: Object.fromEntries(targets),
    budgets,
    diagnostics: [...warnings(prepared), ...rejections(targets)],
  };
  await writeDescriptions(prepared.source, output, built, facts, report);
  return report;
}

/**
 * Builds a pipeline folder or a model for the targets of a recipe and writes `OUT/<target>/…`, `OUT/report.json`,
 * `OUT/manifest.json` and `OUT/recipe.lock.yaml`. An existing build at OUT is replaced only when the new one is
 * complete; after a failure nothing of it is left. A missed budget is not an error: see `report.budgets`. Equal inputs,
 * recipe and versions give equal bytes whatever `workers` is. Errors: every code of the input, the recipe and the
 * output; INTERRUPTED.
 */
export async function compile(source: string, options: CompileOptions): Promise<CompileResult> {
  const prepared = await prepare(source, options);
  const output = openOutput(options.out, source);
  let runtime: Runtime | null = null;
  try {
    runtime = withTwins(
      await createRuntime({
        ...(options.workers !== undefined && { workers: options.workers }),
        ...(options.maxMemory !== undefined && { maxMemory: options.maxMemory }),
      }),
    );
    const report = await abortable(options.signal, "the build", run(prepared, output, runtime, options));
    output.commit();
    return { out: options.out, report };
  } finally {
    output.discard();
    await runtime?.close();
  }
}
