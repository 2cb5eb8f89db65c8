import { inferShapes } from "../ir/infer.ts";
import { findPass } from "../passes/index.ts";
import type { PreviewLine } from "../passes/pass.ts";
import { createRuntime, type Runtime } from "../runtime/index.ts";
import { target as targetById } from "../targets/index.ts";
import { runChain } from "./build.ts";
import type { Plan, PlannedPass } from "./plan.ts";
import { prepare } from "./prepare.ts";
import type { SourceComponent } from "./source.ts";
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

async function previewOne(
  component: SourceComponent,
  steps: readonly PlannedPass[],
  o: { readonly runtime: Runtime; readonly target: string; readonly seed: number },
): Promise<PassPreview[]> {
  const { runtime, seed } = o;
  const target = targetById(o.target);
  const first = steps.findIndex((s) => findPass(s.pass)?.effect === "lossy");
  const none = async () => null;
  const { model } = await runChain(component.model, steps.slice(0, first), {
    runner: { evaluator: runtime.evaluator, reader: runtime.reader, seed },
    target,
    component: component.info.name,
    trail: [],
    ranges: none,
    statistics: none,
    cross: none,
    heldOut: null,
    oracle: none,
    onEvent: () => {},
    counter: { done: 0, total: 0 },
  });
  const shapes = inferShapes(model);
  const ctx = { model, target, shapes: () => shapes };
  return steps.filter(shows).map((s) => ({
    component: component.info.name,
    target: target.id,
    pass: s.pass,
    lines: findPass(s.pass)!.preview!(model.graph, s.options, ctx),
  }));
}

/**
 * The plan of a build and, for passes that can say so from structure alone, what they would choose from: groups, ranks,
 * bytes and FLOPs. Exact passes in front of the first lossy one really run, on a copy; no large weight is read. Each pass
 * is shown the network as it is before any lossy one. Errors: those of the input, the recipe and the exact passes.
 */
export async function previewBuild(path: string, choices: BuildChoices = {}): Promise<BuildPreview> {
  const { plan, source } = await prepare(path, choices);
  const wanted = plan.components.filter((c) => c.targets.some((t) => t.passes.some(shows)));
  if (wanted.length === 0) return { plan, passes: [] };
  const runtime = await createRuntime({ workers: 0 });
  try {
    const passes: PassPreview[] = [];
    for (const c of wanted) {
      const component = source.components.find((s) => s.info.name === c.component)!;
      for (const t of c.targets)
        passes.push(
          ...(await previewOne(component, [...c.shared, ...t.passes], {
            runtime,
            target: t.target,
            seed: plan.seed,
          })),
        );
    }
    return { plan, passes };
  } finally {
    await runtime.close();
  }
}
