import type { Model } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import { dedupeWeights } from "../passes/clean/dedupe-weights.ts";
import { findPass } from "../passes/index.ts";
import type { PreviewLine } from "../passes/pass.ts";
import type { PassReport } from "../passes/runner.ts";
import { createRuntime, type Runtime } from "../runtime/index.ts";
import { target as targetById } from "../targets/index.ts";
import type { Target } from "../targets/target.ts";
import { runChain } from "./build.ts";
import type { ComponentPlan, Plan, PlannedPass } from "./plan.ts";
import { prepare } from "./prepare.ts";
import { lacksData, type SourceComponent } from "./source.ts";
import type { BuildChoices } from "./types.ts";

/** What one pass of a plan would work on. */
export interface PassPreview {
  readonly component: string;
  readonly target: string;
  readonly pass: string;
  readonly lines: readonly PreviewLine[];
}

/** A plan with what its passes find. */
export interface BuildPreview {
  readonly plan: Plan;
  readonly passes: readonly PassPreview[];
}

const shows = (p: PlannedPass): boolean => findPass(p.pass)?.preview !== undefined;
const isLossy = (p: PlannedPass): boolean => findPass(p.pass)?.effect === "lossy";

/** Exact passes that a preview really runs. */
interface Trial {
  readonly runtime: Runtime;
  readonly seed: number;
  readonly component: string;
  readonly target: Target | null;
}

const none = async () => null;

async function runExact(
  start: Model,
  steps: readonly PlannedPass[],
  { runtime, seed, component, target }: Trial,
): Promise<{ readonly model: Model; readonly passes: readonly PassReport[] }> {
  return await runChain(start, steps, {
    runner: { evaluator: runtime.evaluator, reader: runtime.reader, seed },
    target,
    component,
    trail: [],
    ranges: none,
    statistics: none,
    cross: none,
    heldOut: null,
    oracle: none,
    onEvent: () => {},
    counter: { done: 0, total: 0 },
  });
}

/** What comparing weights byte for byte has found: the one exact pass that makes models smaller. */
function sharedLines(passes: readonly PassReport[], lacking: boolean): PreviewLine[] {
  if (lacking)
    return [
      {
        subject: "",
        what: "left out: the files that weights lie in are absent, the rest is a plan from shapes alone",
      },
    ];
  const twins = passes.flatMap((p) => (p.name === dedupeWeights.name ? p.decisions : []));
  const bytes = twins.reduce((n, d) => n + (d.bytesBefore ?? 0) - (d.bytesAfter ?? 0), 0);
  const count = twins.reduce((n, d) => n + (d.count ?? 1), 0);
  return count === 0 ? [] : [{ subject: "", what: `${count} weights equal others: ${bytes} bytes less` }];
}

/** Previews of a component on each of its targets; what they have in common runs once. */
async function previewComponent(
  source: SourceComponent,
  plan: ComponentPlan,
  o: Omit<Trial, "component" | "target">,
): Promise<PassPreview[]> {
  const component = source.info.name;
  const lacking = lacksData(source.model);
  const runs = (steps: readonly PlannedPass[]): PlannedPass[] => {
    const first = steps.findIndex(isLossy);
    const exact = first < 0 ? steps : steps.slice(0, first);
    return lacking ? exact.filter((s) => findPass(s.pass)?.readsWeights !== true) : [...exact];
  };
  const common = await runExact(source.model, runs(plan.shared), { ...o, component, target: null });
  const done = plan.shared.some(isLossy);
  const out: PassPreview[] = [];
  for (const t of plan.targets) {
    const steps = [...plan.shared, ...t.passes];
    if (!steps.some(shows)) continue;
    const target = targetById(t.target);
    const { model, passes } = await runExact(common.model, done ? [] : runs(t.passes), {
      ...o,
      component,
      target,
    });
    const shapes = inferShapes(model);
    const ctx = { model, target, shapes: () => shapes };
    const shared = sharedLines([...common.passes, ...passes], lacking);
    if (shared.length > 0)
      out.push({ component, target: target.id, pass: dedupeWeights.name, lines: shared });
    for (const s of steps.filter(shows)) {
      const lines = findPass(s.pass)!.preview!(model.graph, s.options, ctx);
      out.push({ component, target: target.id, pass: s.pass, lines });
    }
  }
  return out;
}

/**
 * The plan of a build and, for passes that can say so from structure alone, what they would choose from: groups, ranks,
 * bytes and FLOPs. Exact passes in front of the first lossy one really run, on a copy; no large weight is read, and the
 * files weights lie in may be absent. Each pass is shown the network as it is before any lossy one. Errors: those of the
 * input, the recipe and the exact passes.
 */
export async function previewBuild(path: string, choices: BuildChoices = {}): Promise<BuildPreview> {
  const { plan, source } = await prepare(path, choices, { absentData: true });
  const wanted = plan.components.filter((c) =>
    [c.shared, ...c.targets.map((t) => t.passes)].some((s) => s.some(shows)),
  );
  if (wanted.length === 0) return { plan, passes: [] };
  const runtime = await createRuntime({ workers: 0 });
  try {
    const passes: PassPreview[] = [];
    for (const c of wanted) {
      const component = source.components.find((s) => s.info.name === c.component)!;
      passes.push(...(await previewComponent(component, c, { runtime, seed: plan.seed })));
    }
    return { plan, passes };
  } finally {
    await runtime.close();
  }
}
