import type { PlannedPass } from "../../src/compile/plan.ts";
import { prepare } from "../../src/compile/prepare.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Model } from "../../src/ir/graph.ts";
import { fileReader } from "../../src/ir/onnx/index.ts";
import { resolvePass } from "../../src/passes/index.ts";
import { runPass } from "../../src/passes/runner.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { checkModel } from "../../src/targets/check/check.ts";
import type { Target } from "../../src/targets/target.ts";

/** A model whose weights need not exist: its data file may be a hole of the right length. */
export interface CheckSkeletonInput {
  readonly model: string;
  readonly dims: Readonly<Record<string, number>>;
}

/** What one target would do with the model legalised for it. */
export interface CheckedSkeleton {
  readonly target: string;
  /** Processor seconds of the passes all targets share, then of legalisation and check. */
  readonly shared: number;
  readonly seconds: number;
  readonly rejects: readonly string[];
  readonly nodes: number;
  readonly leaves: readonly { readonly node: string; readonly op: string; readonly why: string }[];
  readonly partitions: number;
  readonly share: number | null;
}

const input = JSON.parse(process.argv[2]!) as CheckSkeletonInput;

const runtime = await createRuntime({ workers: 0 });
const { evaluator, reader } = runtime;

/** Runs what a build runs, but for the comparison of weights, which would read them: holes are all alike. */
async function run(model: Model, passes: readonly PlannedPass[], target: Target | null): Promise<void> {
  const options = { evaluator, reader, seed: 0, target, ranges: null, trail: [] };
  for (const step of passes)
    if (step.pass !== "dedupe-weights") await runPass(model, resolvePass(step.pass), step.options, options);
}

/** Processor seconds so far: what a loaded machine does not stretch. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const start = seconds();
const choices = { preset: "exact", targets: ["all"], shape: input.dims, verify: false };
const { source, targets, plan } = await prepare(input.model, choices);
const [component] = source.components;
const [steps] = plan.components;
await run(component!.model, steps!.shared, null);
const shared = seconds() - start;
const out: CheckedSkeleton[] = [];
for (const [i, target] of targets.entries()) {
  const begin = seconds();
  const model = cloneModel(component!.model);
  await run(model, steps!.targets[i]!.passes, target);
  const [check] = await checkModel(model, [target], { reader: fileReader(), bindings: input.dims });
  const { nodes, findings, partitions, flops } = check!;
  out.push({
    target: target.id,
    shared,
    seconds: seconds() - begin,
    rejects: findings.filter((f) => f.severity === "reject").map((f) => `${f.rule} ${f.node}: ${f.why}`),
    nodes: nodes.length,
    leaves: nodes
      .filter((n) => n.verdict === "leaves")
      .map(({ node, op, why }) => ({ node, op, why: why ?? "" })),
    partitions,
    share: flops?.share ?? null,
  });
}
await runtime.close();
console.log(JSON.stringify(out));
