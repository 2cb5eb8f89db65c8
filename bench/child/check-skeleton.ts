import { cloneModel } from "../../src/ir/clone.ts";
import { fileReader, readModel } from "../../src/ir/onnx/index.ts";
import type { Json } from "../../src/ir/tensor.ts";
import { passGroups, resolvePass } from "../../src/passes/index.ts";
import { runPass } from "../../src/passes/runner.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { checkModel } from "../../src/targets/check/check.ts";
import { resolveTargets, targets } from "../../src/targets/index.ts";
import { finishPlan, legalisePlan } from "../../src/targets/legalise.ts";
import type { Target } from "../../src/targets/target.ts";

/** A model whose weights need not exist: its data file may be a hole of the right length. */
export interface CheckSkeletonInput {
  readonly model: string;
  readonly dims: Readonly<Record<string, number>>;
  /** Whether the model goes through the exact passes and legalisation; else it is checked as it was exported. */
  readonly legalise: boolean;
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

// Comparing weights would read them, and holes are all alike.
const clean = passGroups["clean"]!.filter((name) => name !== "dedupe-weights");

type Step = { readonly name: string; readonly options: { readonly [key: string]: Json } };
const plain = (names: readonly string[]): Step[] => names.map((name) => ({ name, options: {} }));

const runtime = await createRuntime({ workers: 0 });
const { evaluator, reader } = runtime;
const run = async (
  model: Awaited<ReturnType<typeof readModel>>,
  steps: readonly Step[],
  target: Target | null,
) => {
  for (const { name, options } of steps)
    await runPass(model, resolvePass(name), options, {
      evaluator,
      reader,
      seed: 0,
      target,
      ranges: null,
      trail: [],
    });
};

/** Processor seconds so far: what a loaded machine does not stretch. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const start = seconds();
const source = await readModel(input.model);
if (input.legalise)
  await run(source, [{ name: "specialise-shapes", options: { dims: input.dims } }, ...plain(clean)], null);
const shared = seconds() - start;
const out: CheckedSkeleton[] = [];
for (const target of resolveTargets(targets.map((t) => t.id))) {
  const begin = seconds();
  const model = cloneModel(source);
  if (input.legalise)
    await run(model, [...legalisePlan(target), ...plain(clean), ...finishPlan(target)], target);
  const [check] = await checkModel(model, [target], {
    reader: fileReader(),
    bindings: input.dims,
  });
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
