import { cloneModel } from "../../../ir/clone.ts";
import type { Graph, Model, Node } from "../../../ir/graph.ts";
import { type DimBindings, nodeCost } from "../../../ir/ops/queries.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { modelBytes } from "../../../ir/weights.ts";
import { integerGain } from "../../../targets/cost/integer.ts";
import { AVX2_CORE } from "../../../targets/machines/x64.ts";
import type { PassContext } from "../../pass.ts";
import { recordedLengths } from "../../recorded-lengths.ts";
import { apply, type Setup } from "./apply.ts";
import { type Candidate, type Choice, chooseSites, spreadCalls } from "./damage.ts";
import type { QuantizeStaticOptions } from "./options.ts";
import type { SitePlan } from "./plan.ts";
import type { Site } from "./sites.ts";

/** Models above this are not measured layer by layer: every trial loads a session. */
const TRIAL_BYTES = 256 << 20;

function constantBytes(graph: Graph, node: Node): number {
  return node.inputs.reduce((n, id) => {
    const t = graph.constant(id);
    return t === null ? n : n + tensorBytes(t);
  }, 0);
}

/** Estimated seconds a site saves in 8 bits at the lengths of the calibration; `null` when shapes are open. */
function gainOf(site: Site, ctx: PassContext, lengths: DimBindings): number | null {
  let flops = 0;
  let quantized = 0;
  let dequantized = 0;
  for (const l of site.layers) {
    const cost = nodeCost(l.node, ctx.shapes(), lengths);
    if (cost === null) return null;
    flops += cost.flops;
    // What the node reads beside its constants is the activation.
    quantized = (cost.bytesRead - constantBytes(ctx.model.graph, l.node)) / 4;
    if (site.kind === "conv") dequantized += cost.bytesWritten / 4;
  }
  return integerGain(ctx.target?.machine ?? AVX2_CORE, { flops, quantized, dequantized });
}

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
    // The cost table is that of operators on integers.
    const gain = setup.spelling.qdq === null ? gainOf(plan.site, ctx, lengths) : null;
    if (gain !== null && gain <= 0 && o.faster)
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
  const calls = spreadCalls(oracle.calls.length);
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
    to: `mean ${floor.mean} dB, worst ${floor.worst} dB`,
    error: { metric: "sqnr-db", value: db(together.mean) },
  });
}
