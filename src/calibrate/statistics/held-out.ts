import type { Runtime } from "../../runtime/index.ts";
import type { Pipeline } from "../pipeline.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./teacher.ts";

/** Trajectories of one more step have every timestep but the ends elsewhere; beyond this many, of one step less. */
const MOST_STEPS = 500;

/**
 * The original on trajectories that `calibration` does not see: `samples` of the calibration seeds behind its own, and of
 * another number of steps, at the timesteps that are not those of its schedule (all of them where none is left).
 * `options` are those the calibration was opened with. Never a verification seed. Errors: those of {@link openTeacher}.
 */
export async function openHeldOut(
  calibration: Pick<Teacher, "settings" | "schedule">,
  samples: number,
  use: { readonly runtime: Runtime; readonly pipeline: Pipeline; readonly options: TeacherOptions },
): Promise<Teacher> {
  const { settings, schedule } = calibration;
  const { timesteps: _t, weights: _w, jitter: _j, ...options } = use.options;
  return await openTeacher(use.runtime, use.pipeline, {
    ...options,
    steps: settings.steps + (settings.steps < MOST_STEPS ? 1 : -1),
    samples,
    firstSample: settings.samples,
    without: schedule,
  });
}
