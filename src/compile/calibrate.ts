import {
  collectFrom,
  layerRequest,
  openTeacher,
  readArtifact,
  type StatisticsSummary,
  summarise,
  type TeacherOptions,
  witness,
  writeArtifact,
} from "../calibrate/statistics/index.ts";
import { fail } from "../diagnostics/index.ts";
import type { Bindings } from "../passes/pass.ts";
import { createRuntime } from "../runtime/index.ts";
import { deduceBindings } from "./shapes.ts";
import { hashSource, openSource } from "./source.ts";
import { withTwins } from "./twins.ts";

/** Options of {@link calibrate}; what is left out is the pipeline's own, as in a recipe's `calibration`. */
export interface CalibrateOptions
  extends Pick<
    TeacherOptions,
    | "sampler"
    | "steps"
    | "guidance"
    | "samples"
    | "seed"
    | "timesteps"
    | "weights"
    | "jitter"
    | "threads"
    | "signal"
  > {
  /** Also Gram matrices of layer inputs. */
  readonly gram?: boolean;
  /** Positions kept per call of every value; default 64. */
  readonly rows?: number;
  /** Lengths of symbolic dims, or of `input.axis`. */
  readonly shape?: Bindings;
}

/** What {@link calibrate} did. */
export interface CalibrateResult {
  readonly out: string;
  readonly bytes: number;
  readonly summary: StatisticsSummary;
}

const ROWS = 64;

/**
 * Collects statistics of the input and output of every layer of a pipeline's denoiser along its calibration trajectory
 * and writes them to a file, for `calibration.artifact` of a recipe. Errors: those of opening and sampling a pipeline,
 * CALIBRATION_IMPOSSIBLE.
 */
export async function calibrate(
  source: string,
  out: string,
  options: CalibrateOptions = {},
): Promise<CalibrateResult> {
  const opened = await openSource(source, { reference: false });
  const { pipeline } = opened;
  const component = opened.components.find((c) => c.info.denoiser);
  if (component === undefined)
    fail("CALIBRATION_IMPOSSIBLE", { path: source, problem: "it has no denoiser" });
  if (pipeline.scheduler === null)
    fail("CALIBRATION_IMPOSSIBLE", { path: source, problem: "it has no scheduler to sample with" });
  const { model } = component;
  const { gram, rows, shape = {}, ...trajectory } = options;
  const runtime = withTwins(await createRuntime({ workers: 0 }));
  try {
    const bindings = { ...deduceBindings(component.info, shape).found, ...shape };
    const teacher = await openTeacher(runtime, pipeline, { ...trajectory, bindings });
    try {
      const request = layerRequest(model, { rows: rows ?? ROWS, ...(gram !== undefined && { gram }) });
      const statistics = await collectFrom(teacher, { model, runtime, pipeline, request });
      const artifact = {
        source: (await hashSource(opened)).sha256,
        settings: teacher.settings,
        request,
        statistics,
        witnesses: await witness(teacher, { model, runtime, pipeline, values: request.values }),
      };
      const bytes = await writeArtifact(out, artifact);
      return { out, bytes, summary: summarise(artifact) };
    } finally {
      await teacher.release();
    }
  } finally {
    await runtime.close();
  }
}

/** Summary of a file that {@link calibrate} wrote. Errors: STATISTICS_INVALID and those of reading an npz. */
export async function inspectStatistics(file: string): Promise<StatisticsSummary> {
  return summarise(await readArtifact(file));
}
