import type { Statistics } from "../../../calibrate/statistics/types.ts";
import type { Model } from "../../../ir/graph.ts";
import { inferShapes } from "../../../ir/infer.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { importContrib } from "../../fuse/driver.ts";
import { carryGrids } from "./carry.ts";
import { type ClockTable, createClock } from "./clock.ts";
import type { SitePlan } from "./plan.ts";
import type { Found } from "./sites.ts";
import type { Spelling } from "./spelling.ts";
import { writeSite } from "./write.ts";
import { writeSiteQdq } from "./write-qdq.ts";

/** What writing sites depends on besides their plans. */
export interface Setup {
  readonly found: Found;
  readonly statistics: Statistics;
  readonly spelling: Spelling;
  /** Where timesteps are cut into buckets that share scales; `null`: every step has its own. */
  readonly bounds: readonly number[] | null;
}

/** Writes planned sites into a model. */
export function apply(model: Model, plans: readonly SitePlan[], setup: Setup): ClockTable {
  const { found, statistics, spelling, bounds } = setup;
  const { graph } = model;
  const patch = new PatchBuilder(graph, "quantize-static");
  const timestep = found.anatomy.inputs.find((i) => i.role === "timestep")?.value ?? null;
  const timesteps = statistics.calls.map((c) => c.timestep);
  const opset = model.opsets.get("") ?? 1;
  const clock = createClock({ graph, patch, timestep, timesteps, bounds, opset });
  const shapes = inferShapes(model);
  const { qdq } = spelling;
  const writing = { graph, shapes, patch, clock };
  for (const plan of plans)
    if (qdq === null) writeSite(writing, plan);
    else writeSiteQdq({ ...writing, form: qdq }, plan);
  const table = clock.emit();
  patch.apply();
  if (qdq !== null && spelling.moving !== null) carryGrids({ ...spelling.moving, graph }, qdq.domain);
  if (spelling.time === "graphs" && table.bucket !== null)
    model.buckets = { input: timestep!, index: table.bucket, bounds: bounds! };
  if (qdq === null || qdq.domain !== "" || qdq.weightDomain !== "") importContrib(model);
  return table;
}
