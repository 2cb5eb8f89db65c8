import type { Statistics, StatisticsRequest } from "../../calibrate/statistics/types.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { patternOf } from "../../numeric/sparsify/pattern.ts";
import { keptCount } from "../../numeric/sparsify/prune-weight.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { type SparsifiedTensors, sparsifyTensor } from "../../runtime/kernels/sparsify-weight.ts";
import { flattened } from "../../targets/lower/weights.ts";
import { heldOutError, heldOutField, heldOutInputs } from "../held-out.ts";
import { type Decision, definePass, type PassContext } from "../pass.ts";
import { gramRequest, inputsOf } from "../quantize/grams.ts";
import { correctBias, layerBias } from "../quantize/layer-bias.ts";
import type { Shared } from "../quantize/plan.ts";
import { predictedSqnr } from "../quantize/score.ts";
import { sparsifiable, tapsOf } from "./layers.ts";
import { type SparsifyWeightsOptions, schema } from "./options.ts";
import { type Sparsified, sparseBytes, storageDecision } from "./storage.ts";

/** Share of the mean diagonal added to Gram matrices, SparseGPT's usual 1 %. */
const DAMP = 0.01;

const needsData = (o: SparsifyWeightsOptions): boolean => o.method !== "magnitude" || o.repair !== "none";

/** One weight on its way. */
interface Work {
  readonly shared: Shared;
  readonly made: SparsifiedTensors;
  /** Whether the layer's inputs are known. */
  readonly informed: boolean;
  readonly kept: number;
  /** What the bias gains; `null` where it stays. */
  readonly shift: Tensor | null;
}

/** Puts the sparse form of a weight in its place. */
function write(
  graph: Graph,
  patch: PatchBuilder,
  s: Shared,
  o: SparsifyWeightsOptions,
  ctx: PassContext,
): Work {
  const { layer } = s.uses[0]!;
  const { tensor, role } = layer;
  const { flat, axis } = flattened({ tensor, ...role })!;
  const rows = tensor.dims[role.outAxis]!;
  const columns = elementCount(tensor.dims) / rows;
  const layers = s.uses.map((u) => u.layer);
  const data = ctx.statistics === null || !needsData(o) ? null : inputsOf(layers, columns, ctx.statistics);
  const bias = data === null || o.repair === "none" || layers.length > 1 ? null : layerBias(graph, layer);
  const informed = data !== null;
  const settings = {
    criterion: informed ? o.method : "magnitude",
    repair: informed ? o.repair : "none",
    pattern: o.pattern,
    ratio: o.ratio,
    taps: tapsOf(layer),
    damp: DAMP,
    actOrder: o.actOrder,
  } as const;
  const made = sparsifyTensor(flat, {
    ...settings,
    order: axis === 0 ? "KN" : "NK",
    gram: data?.gram ?? null,
    mean: bias === null ? null : data!.mean,
  });
  const name = graph.value(s.value).name;
  patch.redirect(s.value, patch.constant(reshapeTensor(made.weight, tensor.dims), `${name}.sparse`));
  if (graph.constant(s.value) !== null) patch.drop(s.value);
  if (bias !== null && made.correction !== null)
    correctBias(patch, bias, made.correction, `${name}.sparse_bias`);
  const pattern = patternOf(o.pattern, o.ratio);
  const kept = keptCount({ rows, columns }, { ...settings, pattern });
  return { shared: s, made, informed, kept, shift: bias === null ? null : made.correction };
}

/** What is said about one weight. */
async function lineOf(
  w: Work,
  held: Statistics | null,
  o: SparsifyWeightsOptions,
  ctx: PassContext,
): Promise<Decision> {
  const { uses } = w.shared;
  const { tensor, node } = uses[0]!.layer;
  const zeros = 1 - w.kept / elementCount(tensor.dims);
  const bytes = tensorBytes(tensor);
  const line: Decision = {
    node: node.name,
    kind: "applied",
    rule: `${w.informed ? o.method : "magnitude"}-${o.pattern}`,
    from: tensor.dtype,
    to: `${tensor.dtype}, ${(100 * zeros).toFixed(1)} % zeros`,
    ...(uses.length > 1 && { count: uses.length }),
    bytesBefore: bytes,
    bytesAfter: bytes,
  };
  if (!o.score || !w.informed) return line;
  const others = await Promise.all(
    uses.map(({ layer }) =>
      heldOutError(
        {
          name: layer.node.name,
          outAxis: layer.role.outAxis,
          before: layer.tensor,
          after: reshapeTensor(w.made.weight, layer.tensor.dims),
          shift: w.shift,
        },
        held,
        ctx.reader,
      ),
    ),
  );
  const value = await predictedSqnr(w.made.figures, ctx.reader);
  return { ...line, error: { metric: "sqnr-db", value, ...heldOutField(others) } };
}

function decideFallback(blind: readonly Work[], o: SparsifyWeightsOptions, ctx: PassContext): void {
  if (blind.length === 0 || !needsData(o)) return;
  ctx.decide({
    node: blind.length === 1 ? blind[0]!.shared.uses[0]!.layer.node.name : "",
    kind: "downgraded",
    rule: "method",
    why:
      ctx.statistics === null
        ? "the model could not be sampled, so nothing is known of its layers' inputs"
        : "the layer's inputs are in groups, too many, or were not observed",
    from: `${o.method}, repair ${o.repair}`,
    to: "magnitude, repair none",
    count: blind.length,
  });
}

export const sparsifyWeights = definePass<SparsifyWeightsOptions>({
  name: "sparsify-weights",
  family: "sparsify",
  summary: "Sets weights of linear layers and convolutions to zero and repairs those that stay",
  doc: `Weights stay dense tensors: zeros are written out. What the same weights would take as \`sparse_initializer\` or
beside a bit mask is reported and never written, because a sparse initializer is expanded when a model loads and spends
eight bytes of index on every value. The report also says which targets turn the pattern into speed.

\`magnitude\` drops the smallest weights of every layer and needs no data. \`wanda\` (arXiv:2306.11695) multiplies them
with the size of their input and compares within each output. \`obs\` with a repair is the sweep of SparseGPT
(arXiv:2301.00774): it goes from one input to the next, drops the weights whose loss later inputs can make up for, and
lets those do it; patterns are chosen 128 inputs at a time. The Gram matrix behind it is summed along the sampled
trajectory and weighted by timestep, as OBS-Diff does it. \`repair: least-squares\` then gives the
weights that stay the values with the least error at the layer's output, for any method. A bias that nothing else reads
takes up the mean of the error; without a repair it stays.

\`2:4\` and \`4:8\` count neighbouring input channels, for convolutions tap by tap: the axis on which sparse kernels expect
it. Layers whose channels do not divide, first and last layers, the time embedding, changes of resolution and shortcuts
stay dense, and the report says so. Layers whose inputs are in groups or more than 4096, and models that cannot be
sampled, lose their smallest weights without a repair. The figure of a layer is the SQNR of its output as predicted from
the Gram matrix. Behind this pass \`quantize-weights\` leaves zeros zero; to fit zeros and integers together use its option
\`sparse\`.`,
  effect: "lossy",
  minSqnrDb: 3,
  options: schema,
  wantsStatistics(graph, o, ctx): StatisticsRequest | null {
    if (!needsData(o)) return null;
    const silent = { model: ctx.model, shapes: () => ctx.shapes(), decide: () => {} };
    const grams = sparsifiable(graph, o, silent)
      .flatMap((s) => s.uses.map((u) => gramRequest(graph, ctx.shapes(), u.layer)))
      .filter((r) => r !== null);
    return grams.length === 0 ? null : { values: [], grams };
  },
  preview(graph, o, ctx) {
    const silent = { model: ctx.model, shapes: () => ctx.shapes(), decide: () => {} };
    const settings = { criterion: o.method, repair: o.repair, pattern: patternOf(o.pattern, o.ratio) };
    const all = sparsifiable(graph, o, silent).map(({ uses }) => {
      const { tensor, role, node } = uses[0]!.layer;
      const rows = tensor.dims[role.outAxis]!;
      const kept = keptCount({ rows, columns: elementCount(tensor.dims) / rows }, settings);
      return { tensor, kept, name: node.name };
    });
    const { dense, coordinate, bitmask } = sparseBytes(all);
    const total = `${all.length} weights; ${dense} bytes with the zeros written out, ${bitmask} beside a bit mask, ${coordinate} as sparse_initializer`;
    return [
      { subject: "", what: total },
      ...all.map(({ tensor, kept, name }) => ({
        subject: name,
        what: `${elementCount(tensor.dims) - kept} of ${elementCount(tensor.dims)} become zero`,
      })),
    ];
  },
  version: 1,
  async run(graph, o, ctx) {
    const patch = new PatchBuilder(graph, "sparsify-weights");
    const all = sparsifiable(graph, o, ctx).map((s) => write(graph, patch, s, o, ctx));
    const scored = o.score ? all.filter((w) => w.informed).flatMap((w) => [...w.shared.uses]) : [];
    const held = await heldOutInputs(
      scored.map((u) => gramRequest(graph, ctx.shapes(), u.layer)),
      ctx,
    );
    patch.apply();
    if (all.length === 0) return;
    if (!o.guards)
      ctx.decide({
        node: "",
        kind: "forced",
        rule: "guards",
        why: "first and last layers, the time embedding, samplers and shortcuts get zeros like the others",
      });
    decideFallback(
      all.filter((w) => !w.informed),
      o,
      ctx,
    );
    for (const line of await Promise.all(all.map((w) => lineOf(w, held, o, ctx)))) ctx.decide(line);
    const weights = all.map((w): Sparsified => ({ tensor: w.shared.uses[0]!.layer.tensor, kept: w.kept }));
    ctx.decide(storageDecision(weights, o.pattern));
  },
});
