import type { GramRequest, Statistics } from "../../calibrate/statistics/types.ts";
import type { Graph, NodeId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { elementsOf } from "../../runtime/kernels/elements.ts";
import { type HeadTensors, narrowedScores, narrowedValues } from "../../runtime/kernels/narrow-heads.ts";
import { heldOutField, heldOutInputs } from "../held-out.ts";
import { optionPattern } from "../option-pattern.ts";
import { type Decision, definePass, type PassContext } from "../pass.ts";
import { leftLines } from "../preview-text.ts";
import { gramRequest, inputsOf } from "../quantize/grams.ts";
import {
  type AttentionSite,
  attentionSites,
  type Edits,
  exchange,
  type HeadLayer,
  headBytes,
  headSides,
  scaleOf,
  writeEdits,
  writeHeads,
} from "./attention.ts";
import { type HeldFrom, heldScores, heldValues } from "./attention-held-out.ts";
import { energyTails, widthFor } from "./head-width.ts";
import { previewAttention } from "./preview-attention.ts";
import { decideWeighting } from "./ranks.ts";

/** Options of `factorize-attention`. */
export interface FactorizeAttentionOptions {
  budget: { readonly energy?: number; readonly ratio?: number };
  parts: "both" | "scores" | "values";
  weighting: "activations" | "none";
  match: string | null;
  exclude: string | null;
}

const PASS = "factorize-attention";

type Context = Pick<PassContext, "model" | "shapes" | "decide">;

/** Attentions that options select and that can be narrowed; the others are decided on. */
function selected(graph: Graph, o: FactorizeAttentionOptions, ctx: Context): AttentionSite[] {
  const match = optionPattern(PASS, "match", o.match);
  const exclude = optionPattern(PASS, "exclude", o.exclude);
  const out: AttentionSite[] = [];
  for (const { node, site } of attentionSites(graph, ctx.shapes())) {
    const { name } = node;
    const skip = (rule: string, why: string): void => ctx.decide({ node: name, kind: "skipped", rule, why });
    if (match?.test(name) === false || exclude?.test(name) === true)
      skip("selection", "its name is not selected by match and exclude");
    else if (typeof site === "string") skip("structure", site);
    else out.push(site);
  }
  return out;
}

const wantsScores = (o: FactorizeAttentionOptions): boolean => o.parts !== "values";
const wantsValues = (o: FactorizeAttentionOptions): boolean => o.parts !== "scores";

/** Layers whose inputs are to be known. */
function observed(sites: readonly AttentionSite[], o: FactorizeAttentionOptions): HeadLayer[] {
  return sites.flatMap((s) => [
    ...(wantsScores(o) ? [s.q, s.k] : []),
    ...(wantsValues(o) && typeof s.out !== "string" ? [s.out] : []),
  ]);
}

function inputsFor(l: HeadLayer, statistics: Statistics | null): HeadTensors["inputs"] {
  return statistics === null ? null : inputsOf([l.layer], headSides(l).columns, statistics);
}

async function doubles(t: Tensor, ctx: PassContext): Promise<Float64Array> {
  return elementsOf({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) }) as Float64Array;
}

/** One side of an attention that was narrowed, or why it stays. */
interface Change {
  readonly rule: "scores" | "values";
  readonly width: number;
  readonly rank: number;
  /** Relative error as predicted. */
  readonly error: number;
  /** Errors on held-out inputs. */
  heldOut(from: HeldFrom): Promise<LayerError | null>;
  readonly before: number;
  readonly after: number;
  write(edits: Edits, patch: PatchBuilder): void;
}

const bytesOf = (...tensors: (Tensor | null)[]): number =>
  tensors.reduce((n, t) => n + (t === null ? 0 : tensorBytes(t)), 0);

async function scores(
  s: AttentionSite,
  o: FactorizeAttentionOptions,
  known: Statistics | null,
  ctx: PassContext,
): Promise<Change> {
  const { heads, width } = s;
  const [qi, ki] = [inputsFor(s.q, known), inputsFor(s.k, known)];
  const seen = qi !== null && ki !== null;
  const of = (l: HeadLayer, inputs: HeadTensors["inputs"]): HeadTensors => ({
    weight: l.layer.tensor,
    order: l.order,
    bias: l.bias?.tensor ?? null,
    inputs: seen ? inputs : null,
  });
  const [q, k] = [of(s.q, qi), of(s.k, ki)];
  const whole = narrowedScores(q, k, { heads, width, rank: width });
  const tail = energyTails(await doubles(whole.spectrum, ctx));
  const rank = widthFor(tail, o.budget);
  const made = narrowedScores(q, k, { heads, width, rank });
  return {
    rule: "scores",
    width,
    rank,
    error: tail[rank]!,
    heldOut: async (from) =>
      await heldScores(
        { layer: s.q, before: q, after: made.q },
        { layer: s.k, before: k, after: made.k },
        { heads, width, rank },
        from,
      ),
    before: headBytes(s.q) + headBytes(s.k),
    after: bytesOf(made.q.weight, made.q.bias, made.k.weight, made.k.bias),
    write(edits, patch) {
      writeHeads(ctx.model.graph, patch, edits, s.q, made.q);
      writeHeads(ctx.model.graph, patch, edits, s.k, made.k);
    },
  };
}

async function values(
  s: AttentionSite,
  out: HeadLayer,
  o: FactorizeAttentionOptions,
  known: Statistics | null,
  ctx: PassContext,
): Promise<Change> {
  const { heads, valueWidth: width } = s;
  const v: HeadTensors = {
    weight: s.v.layer.tensor,
    order: s.v.order,
    bias: s.v.bias?.tensor ?? null,
    inputs: null,
  };
  const output = {
    weight: out.layer.tensor,
    order: out.order,
    gram: inputsFor(out, known)?.gram ?? null,
  };
  const whole = narrowedValues(v, output, { heads, width, rank: width });
  const rank = widthFor(energyTails(await doubles(whole.spectrum, ctx)), o.budget);
  const made = narrowedValues(v, output, { heads, width, rank });
  const [noise, signal] = await doubles(made.figures, ctx);
  return {
    rule: "values",
    width,
    rank,
    error: signal! > 0 ? noise! / signal! : 0,
    heldOut: async (from) =>
      await heldValues(v, { layer: out, tensors: output }, { heads, width, rank }, from),
    before: headBytes(s.v) + headBytes(out),
    after: bytesOf(made.v.weight, made.v.bias, made.output),
    write(edits, patch) {
      const { node, name } = { node: out.layer.node, name: out.layer.node.name || `w${out.layer.value}` };
      writeHeads(ctx.model.graph, patch, edits, s.v, made.v);
      const weight = { node, from: out.layer.value, tensor: made.output, name: `${name}/narrow.weight` };
      exchange(ctx.model.graph, patch, edits, weight);
    },
  };
}

function decisionOn(s: AttentionSite, c: Change, other: LayerError | null): Decision {
  const base = { node: s.node.name, rule: c.rule, from: `width ${c.width}`, to: `width ${c.rank}` };
  if (c.rank >= c.width)
    return { ...base, kind: "skipped", why: "narrower heads would lose more than the budget allows" };
  return {
    ...base,
    kind: "applied",
    bytesBefore: c.before,
    bytesAfter: c.after,
    ...(c.error > 0 && {
      error: { metric: "sqnr-db", value: -10 * Math.log10(c.error), ...heldOutField([other]) },
    }),
  };
}

const share = { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 } as const;

export const factorizeAttention = definePass<FactorizeAttentionOptions>({
  name: PASS,
  family: "factorize",
  summary: "Makes the heads of attentions narrower: queries with keys, values with the output projection",
  doc: `The scores of a head depend on the product of its query and key projections, the output on that of its value and
output projections: both pairs are factored again with fewer dimensions, per head and in closed form (MoDeGPT,
arXiv:2408.09632; here with the second moments of queries and keys as they are, biases included, so that those fold
exactly). Scores lose the least energy over all pairs of queries and keys seen along sampled trajectories; values lose
the least of what the output projection makes of the joined heads. The factor on the scores stays that of the original
width and is written out.

\`budget: { energy }\` gives every attention the width that keeps this share of the energy of its scores and outputs,
\`ratio\` a share of its width. Widths are multiples of 4. The report's figures are the SQNR of the scores before the
softmax and of the output projection.

Works on attention that is one operator (targets with a fused spelling). Left alone, with the reason: a rotation or a norm
between projection and scores, packed or shared projections, caches, weights that others read. Where nothing can be
sampled all inputs count alike, and the report says so.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      budget: {
        type: "object",
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
        properties: { energy: share, ratio: share },
        default: { energy: 0.999 },
        description:
          "One of: energy, the share of the energy that is kept; ratio, the share of the head width.",
      },
      parts: {
        enum: ["both", "scores", "values"],
        default: "both",
        description: "Narrow queries with keys, values with the output projection, or both.",
      },
      weighting: {
        enum: ["activations", "none"],
        default: "activations",
        description:
          "Errors count by the inputs of each layer along sampled trajectories, or all inputs count alike.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only attentions whose node name matches are narrowed.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; attentions whose node name matches stay as they are.",
      },
    },
  },
  wantsStatistics(graph, o, ctx) {
    if (o.weighting === "none") return null;
    const sites = selected(graph, o, { model: ctx.model, shapes: () => ctx.shapes(), decide: () => {} });
    const grams = observed(sites, o)
      .map((l) => gramRequest(graph, ctx.shapes(), l.layer))
      .filter((r): r is GramRequest => r !== null);
    return grams.length === 0 ? null : { values: [], grams };
  },
  preview(graph, o, ctx) {
    const left = leftLines();
    const sites = selected(graph, o, { ...ctx, decide: left.decide });
    const { ratio } = o.budget;
    const widthOf = (width: number): number | null =>
      ratio === undefined ? null : widthFor(new Float64Array(width + 1), { ratio });
    const plan = { scores: wantsScores(o), values: wantsValues(o), widthOf };
    return [...previewAttention(sites, plan, ctx), ...left.lines("attention")];
  },
  version: 1,
  async run(graph, o, ctx) {
    const sites = selected(graph, o, ctx);
    if (sites.length === 0) return;
    const known = o.weighting === "none" ? null : ctx.statistics;
    const unseen = observed(sites, o).filter((l) => inputsFor(l, known) === null);
    decideWeighting(
      unseen.map((l) => l.layer.node.name),
      o,
      ctx,
    );
    const held = await heldOutInputs(
      observed(sites, o).map((l) => gramRequest(graph, ctx.shapes(), l.layer)),
      ctx,
    );
    const patch = new PatchBuilder(graph, PASS);
    const edits: Edits = { inputs: new Map() };
    const scales = new Map<NodeId, number>();
    for (const s of sites) {
      const changes: Change[] = [];
      if (wantsScores(o)) changes.push(await scores(s, o, known, ctx));
      if (wantsValues(o) && typeof s.out !== "string") changes.push(await values(s, s.out, o, known, ctx));
      if (wantsValues(o) && typeof s.out === "string")
        ctx.decide({ node: s.node.name, kind: "skipped", rule: "values", why: s.out });
      for (const c of changes) {
        const narrowed = held !== null && c.rank < c.width;
        const other = narrowed ? await c.heldOut({ held, reader: ctx.reader }) : null;
        ctx.decide(decisionOn(s, c, other));
        if (c.rank >= c.width) continue;
        c.write(edits, patch);
        if (c.rule === "scores") scales.set(s.node.id, scaleOf(s));
      }
    }
    writeEdits(graph, patch, edits, scales);
    patch.apply();
  },
});
