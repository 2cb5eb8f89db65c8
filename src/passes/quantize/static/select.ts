import { cloneModel } from "../../../ir/clone.ts";
import type { Model } from "../../../ir/graph.ts";
import { modelBytes } from "../../../ir/weights.ts";
import { basisOf } from "../../../targets/cost/basis.ts";
import { floorText, spreadCalls, TRIAL_BYTES } from "../../fidelity-floor.ts";
import type { PassContext } from "../../pass.ts";
import { recordedLengths } from "../../recorded-lengths.ts";
import { apply, type Setup } from "./apply.ts";
import { type Candidate, type Choice, chooseSites, MEASURED_CALLS } from "./damage.ts";
import { siteGain } from "./gain.ts";
import type { QuantizeStaticOptions } from "./options.ts";
import type { SitePlan } from "./plan.ts";

function db(v: number): number {
  return Math.round(v * 100) / 100;
}

/** Plans of the sites that stay quantized; decides on those that do not. */
export async function select(
  plans: readonly SitePlan[],
  o: QuantizeStaticOptions,
  ctx: PassContext,
  setup: Setup,
): Promise<readonly SitePlan[]> {
  const { oracle, model } = ctx;
  const lengths = recordedLengths(ctx);
  const worth: { plan: SitePlan; gain: number }[] = [];
  for (const plan of plans) {
    const gain = siteGain(plan.site, ctx, { spelling: setup.spelling, lengths });
    // Where Q/DQ are types, peaks say how much is saved, not that nothing is.
    if (setup.spelling.qdq === null && gain !== null && gain <= 0 && o.faster)
      for (const l of plan.layers)
        ctx.decide({
          node: l.layer.name,
          kind: "skipped",
          rule: "no-gain",
          why: "converting its activations is estimated to cost more than 8-bit arithmetic saves",
        });
    else worth.push({ plan, gain: gain ?? 0 });
  }
  const all = worth.map((w) => w.plan);
  if (o.floor === null) return all;
  const skip = (why: string): readonly SitePlan[] => {
    ctx.decide({ node: "", kind: "skipped", rule: "fidelity-floor", why });
    return all;
  };
  if (setup.spelling.bits !== 8)
    return skip("activations of 16 bits cost little: layers are not measured one by one");
  if (oracle === null) return skip("the original cannot be sampled here, so damage is not measured");
  if (modelBytes(model) > TRIAL_BYTES) return skip("the model is too large to be measured layer by layer");
  const build = (of: readonly SitePlan[]): Model => {
    const trial = cloneModel(model);
    apply(trial, of, setup);
    return trial;
  };
  const machine = ctx.target?.machine;
  if (machine !== undefined)
    ctx.decide({
      node: "",
      kind: "applied",
      rule: "estimate",
      why: `damage is weighed against the time that layers are estimated to save: ${basisOf(machine, [])}`,
    });
  const calls = spreadCalls(oracle.calls.length, MEASURED_CALLS);
  const candidates: Candidate[] = [];
  for (const { plan, gain } of worth)
    candidates.push({ plan, gain, alone: await oracle.errors(build([plan]), calls) });
  const choice = await chooseSites(candidates, o.floor, { oracle, calls, build });
  report(choice, o.floor, ctx);
  return choice.kept.map((c) => c.plan);
}

function report(choice: Choice, floor: { mean: number; worst: number }, ctx: PassContext): void {
  for (const c of choice.dropped)
    for (const l of c.plan.layers)
      ctx.decide({
        node: l.layer.name,
        kind: "skipped",
        rule: "damage",
        why: `its activations stay float to keep the fidelity floor: alone in 8 bits it costs ${db(c.alone.mean)} dB mean, ${db(c.alone.worst)} dB at the worst step`,
        error: { metric: "sqnr-db", value: db(c.alone.worst) },
      });
  const { together } = choice;
  if (together === null) return;
  const met = together.mean >= floor.mean && together.worst >= floor.worst;
  ctx.decide({
    node: "",
    kind: met ? "applied" : "downgraded",
    rule: "fidelity-floor",
    why: `measured on the calibration trajectory: mean ${db(together.mean)} dB, worst step ${db(together.worst)} dB; noise of single layers adds up to ${db(1 / choice.additivity)} of it`,
    to: floorText(floor),
    error: { metric: "sqnr-db", value: db(together.mean) },
  });
}
