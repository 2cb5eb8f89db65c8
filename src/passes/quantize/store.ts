import type { CrossGram } from "../../calibrate/statistics/cross.ts";
import { cloneModel } from "../../ir/clone.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Patch, PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";
import { importContrib } from "../fuse/driver.ts";
import type { Decision, PassContext } from "../pass.ts";
import { decideFallbacks, type Fallbacks, fittingOf, meanBias, needsData } from "./fitting.ts";
import { gramRequest } from "./grams.ts";
import type { Guard } from "./guards.ts";
import { isLifted, type QuantizeWeightsOptions, type Shared } from "./plan.ts";
import { scores } from "./score.ts";
import { ownStatistics, steered } from "./sequential.ts";
import { portionsOf, stagesOf } from "./stages.ts";
import { type Written, write } from "./write.ts";

const WHY: Readonly<Record<Guard, string>> = {
  edge: "first and last layers are the most sensitive",
  time: "the time embedding reaches every block",
  sampler: "changes of resolution are sensitive",
  shortcut: "the bypass of a block is sensitive",
};

/** `w4-gptq-matmul-nbits`; rounding to nearest is not named. */
function ruleOf(format: string, method: string, { spelling }: Written): string {
  return method === "rtn" || method === spelling
    ? `${format}-${spelling}`
    : `${format}-${method}-${spelling}`;
}

/** A weight in its new form and what is said of it. */
interface Line {
  readonly written: Written;
  readonly decision: Decision;
}

/** What storing weights leaves to say, over all stages. */
interface Account {
  readonly fallbacks: Fallbacks;
  readonly lines: Line[];
  readonly errors: number[];
  readonly forced: Decision[];
}

/** What a stage is stored with: statistics of its inputs and, behind compressed layers, those against the original. */
interface Stage {
  readonly weights: readonly Shared[];
  readonly crossed: ReadonlyMap<string, CrossGram> | null;
}

/** Writes one weight and notes what is to be said. */
function storeOne(
  s: Shared,
  at: { readonly graph: Graph; readonly patch: PatchBuilder; readonly stage: Stage },
  o: QuantizeWeightsOptions,
  ctx: PassContext,
  account: Account,
): Written | null {
  const { graph, patch, stage } = at;
  const moved =
    stage.crossed === null ? null : steered(s, stage.crossed, { bias: meanBias(graph, s), move: o.steer });
  const from = moved?.shared ?? s;
  const found = fittingOf(graph, from, o, ctx, account.fallbacks);
  const fitting = moved === null ? found : { ...found, bias: moved.bias };
  const written = write(graph, patch, from, { options: o, fitting }, ctx);
  const { layer, guard } = s.uses[0]!;
  const { name } = layer.node;
  const sparse = fitting.fit?.sparse ?? null;
  const guarded = s.format !== o.format && guard !== null;
  if (written === null) {
    if (guarded)
      ctx.decide({ node: name, kind: "skipped", rule: `guard-${guard}`, why: WHY[guard], to: s.format });
    return null;
  }
  if (guard !== null && isLifted(guard, s.format))
    account.forced.push({
      node: name,
      kind: "forced",
      rule: `guard-${guard}-lifted`,
      why: `options lift the guard: ${WHY[guard]}`,
      to: s.format,
    });
  account.lines.push({
    written,
    decision: {
      node: name,
      kind: guarded ? "forced" : "applied",
      rule: guarded ? `guard-${guard}` : ruleOf(s.format, fitting.method, written),
      ...(guarded && { why: WHY[guard] }),
      from: layer.tensor.dtype,
      to: sparse === null ? s.format : `${s.format}, ${sparse.pattern} zeros`,
      ...(s.uses.length > 1 && { count: s.uses.length }),
      bytesBefore: tensorBytes(layer.tensor),
      bytesAfter: written.stored.reduce((n, t) => n + tensorBytes(t), 0),
    },
  });
  return written;
}

/** A patch whose derived constants are there as bytes: running a stage would otherwise make all earlier ones again. */
async function settled(patch: Patch, reader: TensorReader): Promise<Patch> {
  const settle = async (t: Tensor): Promise<Tensor> => ({
    ...t,
    source: { kind: "inline", bytes: await reader.read(t) },
  });
  const values = patch.values.map(async (v) =>
    v.init?.source.kind === "derived" ? { ...v, init: await settle(v.init) } : v,
  );
  return { ...patch, values: await Promise.all(values) };
}

/** Stores the weights of one stage. `settle` when later stages run behind it. */
async function storeStage(
  graph: Graph,
  stage: Stage,
  o: QuantizeWeightsOptions,
  how: { readonly ctx: PassContext; readonly account: Account; readonly settle: boolean },
): Promise<void> {
  const { account, settle } = how;
  const statistics =
    stage.crossed === null
      ? how.ctx.statistics
      : ownStatistics(how.ctx.statistics?.calls ?? [], stage.crossed);
  const ctx = { ...how.ctx, statistics };
  const patch = new PatchBuilder(graph, "quantize-weights");
  const written = stage.weights.flatMap((s) => storeOne(s, { graph, patch, stage }, o, ctx, account) ?? []);
  const scored = o.score ? scores(written, ctx.reader) : [];
  if (patch.empty) return;
  if (settle) {
    const [errors, done] = await Promise.all([scored, settled(patch.build(), ctx.reader)]);
    account.errors.push(...errors);
    graph.apply(done);
  } else {
    account.errors.push(...(await scored));
    patch.apply();
  }
  if (written.some((w) => w.spelling === "matmul-nbits")) importContrib(ctx.model);
}

/**
 * Stores weights in their formats. With `sequential`, in stages: the inputs of a later stage are observed in the network
 * as it is by then, against those in the network as it was, and its weights made to answer as they would have.
 */
export async function storeWeights(
  graph: Graph,
  all: readonly Shared[],
  o: QuantizeWeightsOptions,
  ctx: PassContext,
): Promise<void> {
  const account: Account = { fallbacks: new Map(), lines: [], errors: [], forced: [] };
  const able = ctx.statistics !== null && needsData(o);
  if (o.sequential > 0 && !able) {
    const why = needsData(o)
      ? "the model could not be sampled, so nothing is known of what layers see behind compressed ones"
      : "it moves weights by what their layers see, which this method does not look at";
    ctx.decide({ node: "", kind: "skipped", rule: "sequential", why });
  }
  const [first, ...later] = able ? stagesOf(graph, all, o.sequential) : [all];
  const stages = [first!, ...later.flatMap((s) => portionsOf(s))];
  const requests = new Map(
    stages
      .slice(1)
      .flatMap((stage) =>
        stage.map(
          (s) => [s, s.uses.flatMap((u) => gramRequest(graph, ctx.shapes(), u.layer) ?? [])] as const,
        ),
      ),
  );
  const original = stages.length > 1 ? cloneModel(ctx.model) : ctx.model;
  for (const [i, weights] of stages.entries()) {
    const asked = weights.flatMap((s) => requests.get(s) ?? []);
    const crossed = i === 0 ? null : await ctx.collectCross(asked, original);
    await storeStage(graph, { weights, crossed }, o, { ctx, account, settle: i < stages.length - 1 });
  }
  if (stages.length > 1)
    ctx.decide({
      node: "",
      kind: "applied",
      rule: "sequential",
      why: `${stages.length} stages, of ${stages.map((s) => s.length).join(", ")} weights`,
    });
  decideFallbacks(account.fallbacks, o, ctx);
  for (const [i, { decision }] of account.lines.entries()) {
    const value = account.errors[i];
    ctx.decide(value === undefined ? decision : { ...decision, error: { metric: "sqnr-db", value } });
  }
  for (const d of account.forced) ctx.decide(d);
}
