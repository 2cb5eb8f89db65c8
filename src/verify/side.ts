import type { ConditionSet, EncodedCondition } from "../calibrate/conditions.ts";
import type { Denoiser } from "../calibrate/denoiser.ts";
import { denseFrom, floats, rows, stack } from "../calibrate/dense.ts";
import type { InputRoles } from "../calibrate/roles.ts";
import type { Dense } from "../ir/evaluator.ts";
import { type Prediction, type Predictor, separate } from "./predictor.ts";

/** One sample of a run: its place in the batch and what it is conditioned on. */
interface Row {
  readonly sample: Dense;
  readonly condition: EncodedCondition;
}

/** Feeds of one run: samples stacked, conditions row by row, one time for all. */
function feedsOf(
  roles: InputRoles,
  batch: readonly Row[],
  timestep: number,
  guidance: number,
): Map<string, Dense> {
  const count = batch.length;
  const { layout, name, dtype } = roles.timestep;
  const dims = layout === "scalar" ? [] : [layout === "batch" ? count : 1];
  const feeds = new Map<string, Dense>([
    [roles.sample.name, stack(batch.map((r) => r.sample))],
    [name, denseFrom(dtype, dims, new Float64Array(layout === "batch" ? count : 1).fill(timestep))],
  ]);
  for (const role of roles.conditions) {
    const given = batch.map((r) => r.condition.inputs.get(role.name));
    const first = given[0];
    if (first === undefined) {
      if (!role.guidance) throw new Error(`condition ${batch[0]?.condition.name} has no ${role.name}`);
      const lengths = role.shape.length === 0 ? [] : [role.batched ? count : 1];
      const values = new Float64Array(lengths[0] ?? 1).fill(guidance);
      feeds.set(role.name, denseFrom(role.dtype, lengths, values));
    } else feeds.set(role.name, role.batched ? stack(given as Dense[]) : first);
  }
  return feeds;
}

/**
 * A predictor on a denoiser and the pipeline's conditions. Both halves of all samples go in one batch, conditional
 * first; a model with conditions that serve a whole batch is run once per condition instead. `dims` are those of one
 * sample; `guidance` is what guidance-distilled models are told.
 */
export function sidePredictor(
  denoiser: Denoiser,
  set: ConditionSet,
  dims: readonly number[],
  guidance: number,
): Predictor {
  const { roles } = denoiser;
  const length = dims.reduce((n, d) => n * d, 1);
  const shared = roles.conditions.some((r) => !r.batched && !r.guidance);

  async function run(batch: readonly Row[], timestep: number): Promise<Float32Array> {
    if (!shared) return floats(await denoiser.run(feedsOf(roles, batch, timestep, guidance)));
    const parts: Dense[] = [];
    for (const row of batch) parts.push(await denoiser.run(feedsOf(roles, [row], timestep, guidance)));
    return floats(stack(parts));
  }

  return {
    async predict(samples, timestep, conditions): Promise<Prediction> {
      const count = conditions.length;
      const whole = denseFrom("f32", [count, ...dims], samples);
      const sample = (k: number): Dense => rows(whole, k, k + 1);
      const batch: Row[] = conditions.map((c, k) => ({ sample: sample(k), condition: set.conditions[c]! }));
      const { unconditional } = set;
      if (unconditional !== null)
        batch.push(...conditions.map((_, k) => ({ sample: sample(k), condition: unconditional })));
      const { mean, variance } = separate(await run(batch, timestep), batch.length, length);
      return {
        conditional: mean.subarray(0, count * length),
        unconditional: unconditional === null ? null : mean.subarray(count * length),
        variance: variance?.subarray(0, count * length) ?? null,
      };
    },
  };
}
