import type { Oracle } from "../../calibrate/statistics/types.ts";
import { DiffpressError } from "../../diagnostics/index.ts";
import { anatomy } from "../../ir/anatomy/index.ts";
import type { Graph, ValueId } from "../../ir/graph.ts";
import type { Estimator } from "../../numeric/affine-fit.ts";
import { ratioDb } from "../../numeric/energy.ts";
import type { Session } from "../../runtime/index.ts";
import { definePass, type PassContext } from "../pass.ts";
import { bake, type Lookup } from "./correct/bake.ts";
import { channelsOf, type FitOn, fitSteps, type StepFit } from "./correct/fit.ts";

/** Options of `correct-output`. */
export interface CorrectOutputOptions {
  estimator: Estimator;
  on: FitOn;
  lookup: Lookup;
  positive: boolean;
  minGain: number;
}

/** Noise below this share of the signal is rounding. */
const NOTHING = 1e-11;

const round = (x: number, digits = 3): number => Number(x.toFixed(digits));

/** Where a correction goes, or why it cannot. */
function place(
  graph: Graph,
  oracle: Oracle,
  ctx: PassContext,
): { readonly output: ValueId; readonly timestep: ValueId } | string {
  const output = graph.outputs.find((id) => graph.value(id).name === oracle.output);
  if (output === undefined) return "the denoiser's output is not an output of this model";
  if (graph.producer(output) === undefined) return "no node makes the output";
  if (graph.users(output).length > 0) return "the output is also read inside the network";
  const { inputs } = anatomy(ctx.model, ctx.shapes());
  const timestep = inputs.find((i) => i.role === "timestep")?.value;
  return timestep === undefined ? "no input was recognised as the timestep" : { output, timestep };
}

/** Weighted mean over steps of the dB gained on held-out seeds. */
function gainOf(steps: readonly StepFit[]): number {
  const weights = steps.reduce((s, x) => s + x.weight, 0);
  const db = (x: StepFit): number => ratioDb(x.signal, x.after) - ratioDb(x.signal, x.before);
  return steps.reduce((s, x) => s + (weights > 0 ? x.weight / weights : 1 / steps.length) * db(x), 0);
}

function reportStep(s: StepFit, output: string, ctx: PassContext): void {
  const [before, after] = [ratioDb(s.signal, s.before), ratioDb(s.signal, s.after)].map((x) => round(x, 2));
  const { slope, offset, residual } = s.fit;
  const largest = offset.reduce((m, o) => Math.max(m, Math.abs(o)), 0);
  ctx.decide(
    s.helps
      ? {
          node: output,
          kind: "applied",
          rule: "step",
          why: `t=${s.timestep}: slope ${slope.toPrecision(3)}, offsets up to ${largest.toPrecision(2)}, residual variance ${residual.toPrecision(3)}; held-out seeds ${before} to ${after} dB`,
          error: { metric: "sqnr-db", value: after! },
        }
      : {
          node: output,
          kind: "skipped",
          rule: "step",
          why: `t=${s.timestep}: a correction does not help held-out seeds, which have ${before} dB without`,
        },
  );
}

/** The build on the runtime at hand, or what that said: builds for other devices may hold what it has no kernels for. */
async function openBuild(oracle: Oracle, ctx: PassContext): Promise<Session | string> {
  try {
    return await oracle.open(ctx.model);
  } catch (e) {
    const refused = e instanceof DiffpressError && e.code === "RUNTIME_REJECTED";
    if (!refused || ctx.target === null || ctx.target.kind === "cpu") throw e;
    return `the build does not run on the CPU of this machine, so its output is not known: ${e.message}`;
  }
}

export const correctOutput = definePass<CorrectOutputOptions>({
  name: "correct-output",
  family: "quantize",
  summary: "Takes back what compression does to the output on average, timestep by timestep",
  doc: `Post-training correction after PTQD (He et al. 2023). On recorded calls of the original, the compressed network's
guided output is compared with the true one: per timestep a slope (the part of the error that follows the output) and a
mean per channel. Their inverse, one gain and one offset per channel, is put behind the output as a small table looked up
by the timestep input, so that any schedule can be sampled: between calibrated timesteps it is interpolated, outside it
stays as at the nearest one. Both halves of guidance get the same gain and offset, which corrects the guided output
exactly as fitted.

Seeds are held out in turn: a timestep whose held-out seeds do not improve keeps the identity, and nothing is written when
the mean gain is below \`minGain\`. \`mmse\` instead of \`ptqd\` minimises the squared error, but shrinks the spread of the
output. What remains of the error is reported per timestep, and the manifest has it as a table under
\`sampling.<model>.residualVariance\` (\`timesteps\`, \`variance\`, \`guidance\`): the mean square per element of the
guided output's error on held-out seeds, with the correction where one is written. A stochastic sampler takes it from the
noise it adds: where its step multiplies the output by λ and adds noise of deviation σ, it adds √max(0, σ² - λ²·variance)
instead. For DDIM λ = √(1 - ᾱ' - σ²) - √(ᾱ'(1 - ᾱ)/ᾱ), ᾱ' that of the next step. A deterministic sampler has no use for it.

It runs last, after everything that changes the output. Without a sampled trajectory it does nothing.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      estimator: {
        enum: ["ptqd", "mmse"],
        default: "ptqd",
        description: "Unbiased inverse of the regression of the error, or least squared error.",
      },
      on: {
        enum: ["guided", "halves"],
        default: "guided",
        description:
          "Fit the guided output, which depends on the guidance scale, or the rows of both halves alike, which does not.",
      },
      lookup: {
        enum: ["interpolate", "nearest"],
        default: "interpolate",
        description: "What timesteps between calibrated ones get.",
      },
      positive: {
        type: "boolean",
        default: false,
        description: "Keep the slope at 0 or more, as the authors of PTQD do.",
      },
      minGain: {
        type: "number",
        minimum: 0,
        default: 0.02,
        description: "Mean dB that held-out seeds must gain for anything to be written.",
      },
    },
  },
  wantsOracle: () => true,
  version: 1,
  async run(graph, o, ctx) {
    const skip = (rule: string, why: string): void =>
      ctx.decide({ node: ctx.oracle?.output ?? "", kind: "skipped", rule, why });
    const { oracle } = ctx;
    if (oracle === null) return skip("no-oracle", "the model cannot be sampled");
    const at = place(graph, oracle, ctx);
    if (typeof at === "string") return skip("no-place", at);
    const session = await openBuild(oracle, ctx);
    if (typeof session === "string") return skip("not-run", session);
    const steps = await fitSteps(oracle, session, o).finally(() => session.release());
    if (steps === null) return skip("single-seed", "no seed can be held out: some timestep has only one");
    if (steps.every((s) => s.before <= NOTHING * s.signal))
      return skip("nothing-to-correct", "the output is that of the original");
    const gained = gainOf(steps);
    const helping = steps.filter((s) => s.helps).length;
    const baked = helping > 0 && gained >= o.minGain;
    ctx.publish({
      residualVariance: {
        timesteps: steps.map((s) => s.timestep),
        variance: steps.map((s) => (baked ? s.after : s.before) / s.count),
        guidance: oracle.guidance,
      },
    });
    const summary = `${helping} of ${steps.length} timesteps improve, ${round(gained)} dB on average over held-out seeds`;
    for (const s of steps) reportStep(s, oracle.output, ctx);
    if (!baked) return skip("not-helping", summary);
    const dims = oracle.calls[0]!.outputs.get(oracle.output)!.dims;
    const { axis, count } = channelsOf(dims);
    const length = ctx.shapes().shape(at.output)?.[axis];
    bake(graph, {
      ...at,
      dtype: ctx.shapes().dtype(at.output) ?? "f32",
      rank: dims.length,
      axis,
      channels: typeof length === "number" ? length : count,
      lookup: o.lookup,
      steps,
    });
    ctx.decide({
      node: oracle.output,
      kind: "applied",
      rule: `${o.estimator}-${o.on}`,
      why: summary,
    });
  },
});
