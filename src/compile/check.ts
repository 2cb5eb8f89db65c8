import { DiffpressError, fail } from "../diagnostics/index.ts";
import { ModelBuilder } from "../ir/build.ts";
import type { Model } from "../ir/graph.ts";
import { externalKeys, fileReader, readModel } from "../ir/onnx/index.ts";
import { bindableDims } from "../passes/clean/specialise-shapes.ts";
import { resolvePass } from "../passes/index.ts";
import type { Bindings } from "../passes/pass.ts";
import { runPass } from "../passes/runner.ts";
import type { Estimate } from "../report/types.ts";
import { createRuntime } from "../runtime/index.ts";
import { checkModel } from "../targets/check/check.ts";
import type { TargetCheck } from "../targets/check/types.ts";
import { resolveTargets } from "../targets/index.ts";
import type { Target } from "../targets/target.ts";
import { estimateOf } from "./estimate.ts";
import { symbolBindings } from "./flops.ts";

/** Options of {@link checkTarget}. */
export interface CheckTargetOptions {
  /** Names of targets, with `id:variant` and `all`. */
  readonly targets: readonly string[];
  /** Lengths of symbolic dims or of `input.axis`; the others stay open. */
  readonly shape?: Bindings;
}

/** A check, and how long a run should take where every node is on the accelerator. */
export interface FileCheck extends TargetCheck {
  /** `null` where a length is unknown, and for files that are refused when they are read. */
  readonly estimate: Estimate | null;
}

/** Refusals of the reader that sessions share: the file is well formed and its external data is not. */
const SHARED_REFUSALS = /^EXTERNAL_DATA_/;

/** Functions are inlined by every session; rules look at operators. */
async function inlined(model: Model): Promise<void> {
  if (model.functions.length === 0) return;
  const runtime = await createRuntime({ workers: 0 });
  const { evaluator, reader } = runtime;
  try {
    await runPass(
      model,
      resolvePass("inline-functions"),
      {},
      { evaluator, reader, seed: 0, target: null, ranges: null, trail: [] },
    );
  } finally {
    await runtime.close();
  }
}

/** What {@link checkFile} is told besides the file. */
interface FileOptions {
  readonly targets: readonly Target[];
  readonly shape: Bindings;
  /** Whether lengths for dims the model does not have are an error; a build's shape names dims that are fixed by now. */
  readonly strict: boolean;
  /** Largest magnitudes over a trajectory, by value name, where they were measured. */
  readonly ranges?: ReadonlyMap<string, number>;
}

/** Checks an ONNX file of any origin. A file whose external data sessions refuse too is a finding, not an error. */
async function checkFile(path: string, o: FileOptions): Promise<readonly FileCheck[]> {
  let model: Model;
  try {
    model = await readModel(path);
  } catch (e) {
    if (!(e instanceof DiffpressError) || !SHARED_REFUSALS.test(e.code)) throw e;
    const refused = await checkModel(new ModelBuilder().build(), o.targets, { refused: e.diagnostic });
    return refused.map((c) => ({ ...c, estimate: null }));
  }
  const known = bindableDims(model.graph);
  const stranger = Object.keys(o.shape).find((dim) => !known.includes(dim));
  if (o.strict && stranger !== undefined) fail("SHAPE_DIM_UNKNOWN", { dim: stranger, known });
  const keys = externalKeys(model);
  await inlined(model);
  const bindings = symbolBindings(model, o.shape);
  const { ranges = new Map<string, number>() } = o;
  const given = { bindings, reader: fileReader(), externalKeys: keys, ranges };
  const checks = await checkModel(model, o.targets, given);
  return checks.map((c, i) => ({ ...c, estimate: estimateOf(model, o.targets[i]!, o.shape) }));
}

/** What {@link checkWritten} is told. */
export interface WrittenCheck {
  readonly path: string;
  readonly target: Target;
  /** Lengths the model is run at. */
  readonly shape: Bindings;
  /** Largest magnitudes over the calibration trajectory, by value name; empty where nothing was measured. */
  readonly ranges: ReadonlyMap<string, number>;
}

/** Checks a model of a build as it was written. */
export async function checkWritten({ path, target, shape, ranges }: WrittenCheck): Promise<FileCheck> {
  const [check] = await checkFile(path, { targets: [target], shape, strict: false, ranges });
  return check!;
}

/**
 * Checks an ONNX file against targets: what each refuses, what would run slowly or with other numbers than meant, where
 * every node runs, and how long a run takes by estimate. Errors: TARGET_UNKNOWN, SHAPE_DIM_UNKNOWN, and those of reading
 * the file, except refused external data, which is a finding.
 */
export async function checkTarget(path: string, options: CheckTargetOptions): Promise<readonly FileCheck[]> {
  const targets = resolveTargets(options.targets);
  return await checkFile(path, { targets, shape: options.shape ?? {}, strict: true });
}
