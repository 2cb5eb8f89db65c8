import { rangesFrom } from "../calibrate/ranges.ts";
import {
  collectFrom,
  collectReusing,
  crossFrom,
  judgingIn,
  type Oracle,
  openHeldOut,
  openTeacher,
  readArtifact,
  recordOracle,
  type StatisticsArtifact,
  type Teacher,
  type TeacherOptions,
  type TeacherSettings,
} from "../calibrate/statistics/index.ts";
import { fail } from "../diagnostics/index.ts";
import type { Bindings } from "../passes/pass.ts";
import type { Arithmetic, Runtime } from "../runtime/index.ts";
import type { ChainOptions } from "./build.ts";
import type { Prepared } from "./prepare.ts";
import type { Obstacle } from "./runnable.ts";
import type { SourceComponent } from "./source.ts";

/** What passes may have measured of a component at any stage of its build. */
type Measures = Pick<ChainOptions, "ranges" | "statistics" | "cross" | "oracle" | "heldOut">;

/** Measurements of components on the original's calibration trajectory, sampled once per component and shape. */
export interface Calibration {
  /**
   * Measurements at the given lengths of symbolic dims, candidates computed in the arithmetic of a target. All give `null`
   * for what cannot be sampled.
   */
  of(component: SourceComponent, lengths: Bindings, arithmetic: Arithmetic): Measures;
  release(): Promise<void>;
}

/** What calibrating a build needs. */
export interface CalibrationContext {
  readonly prepared: Prepared;
  readonly runtime: Runtime;
  readonly obstacle: Obstacle;
  /** Hash of the input, which an artifact must be of. */
  readonly input: Promise<{ readonly sha256: string }>;
  readonly signal?: AbortSignal;
}

/** Inputs of the trajectory kept between passes. */
const KEEP_BYTES = 256 << 20;
/** Bytes of recorded inputs and outputs an oracle may take; beyond it calls are left out. */
const ORACLE_BYTES = 256 << 20;
/** Trajectories held out where a recipe does not say. */
const HELD_OUT = 1;
/** Positions per column of held-out Gram matrices: pricing a fit takes fewer than making it. */
const HELD_OVERSAMPLING = 2;

/** What keeps an artifact from being of this input and trajectory. */
function differencesOf(artifact: StatisticsArtifact, input: string, settings: TeacherSettings): string[] {
  const out = artifact.source === input ? [] : ["its input has another hash"];
  for (const [key, wanted] of Object.entries(settings)) {
    const found: unknown = artifact.settings[key as keyof TeacherSettings];
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      out.push(`its ${key} is ${JSON.stringify(found)}, the build's ${JSON.stringify(wanted)}`);
  }
  return out;
}

/** Nothing is sampled before the first pass asks. */
export function openCalibration(ctx: CalibrationContext): Calibration {
  const { prepared, runtime } = ctx;
  const { pipeline } = prepared.source;
  const teachers = new Map<string, Promise<Teacher | null>>();
  const heldOut = new Map<string, Promise<Teacher | null>>();
  const oracles = new Map<string, Promise<Oracle | null>>();
  const held = prepared.recipe.calibration.heldOut ?? HELD_OUT;

  const optionsFor = (component: SourceComponent, lengths: Bindings): TeacherOptions => ({
    ...prepared.recipe.calibration,
    original: component.path,
    seed: prepared.plan.seed,
    bindings: lengths,
    keepBytes: KEEP_BYTES,
    ...(ctx.signal !== undefined && { signal: ctx.signal }),
  });
  async function open(component: SourceComponent, lengths: Bindings): Promise<Teacher | null> {
    if (pipeline.scheduler === null || !component.info.denoiser) return null;
    if ((await ctx.obstacle(component)) !== null) return null;
    return await openTeacher(runtime, pipeline, optionsFor(component, lengths));
  }
  let read: Promise<StatisticsArtifact> | null = null;
  async function stored(file: string, teacher: Teacher): Promise<StatisticsArtifact> {
    read ??= readArtifact(file);
    const artifact = await read;
    const { sha256 } = await ctx.input;
    const differences = differencesOf(artifact, sha256, teacher.settings);
    if (differences.length > 0) fail("STATISTICS_STALE", { file, differences });
    return artifact;
  }
  const once = <T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> => {
    const found = known.get(key) ?? make();
    known.set(key, found);
    return found;
  };
  return {
    of(component, lengths, arithmetic) {
      const key = JSON.stringify([component.info.name, Object.entries(lengths).sort()]);
      const teacher = () => once(teachers, key, () => open(component, lengths));
      const other = () =>
        once(heldOut, key, async () => {
          const t = await teacher();
          const options = optionsFor(component, lengths);
          return t === null ? null : await openHeldOut(t, held, { runtime, pipeline, options });
        });
      return {
        async ranges(model) {
          const t = await teacher();
          return t === null ? null : await rangesFrom(t, { model, runtime, pipeline });
        },
        async statistics(model, request, exact) {
          const t = await teacher();
          if (t === null) return null;
          const { rows, artifact } = prepared.recipe.calibration;
          const options = { model, runtime, pipeline, request, ...(rows !== undefined && { rows }) };
          if (artifact === undefined || !exact) return await collectFrom(t, options);
          return await collectReusing(await stored(artifact, t), t, options);
        },
        async cross(models, requests) {
          const t = await teacher();
          return t === null ? null : await crossFrom(t, { ...models, runtime, pipeline, requests });
        },
        heldOut:
          held === 0
            ? null
            : {
                async collect(model, request) {
                  const t = await other();
                  const options = { model, runtime, pipeline, request, oversampling: HELD_OVERSAMPLING };
                  return t === null ? null : await collectFrom(t, options);
                },
                async collectCross(models, requests) {
                  const t = await other();
                  const options = { ...models, runtime, pipeline, requests, oversampling: HELD_OVERSAMPLING };
                  return t === null ? null : await crossFrom(t, options);
                },
              },
        async oracle() {
          const found = await once(oracles, key, async () => {
            const t = await teacher();
            return t === null ? null : await recordOracle(t, runtime, pipeline, { maxBytes: ORACLE_BYTES });
          });
          return found === null || arithmetic === "fused" ? found : judgingIn(found, arithmetic);
        },
      };
    },
    async release() {
      for (const t of [...teachers.values(), ...heldOut.values()])
        await (await t.catch(() => null))?.release();
    },
  };
}
