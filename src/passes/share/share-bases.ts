import type { Statistics } from "../../calibrate/statistics/types.ts";
import type { Graph } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { product, transposed, viewOf } from "../../numeric/linalg/product.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { inputSpectrum, rankFor } from "../../numeric/share/basis.ts";
import { asF32, elementsOf } from "../../runtime/kernels/elements.ts";
import { sizesOf } from "../../runtime/kernels/fit-inputs.ts";
import { type BasisTensors, shareBasis } from "../../runtime/kernels/share-basis.ts";
import { transposeTensor } from "../../runtime/kernels/transpose.ts";
import { heldOutError, heldOutField, heldOutInputs } from "../held-out.ts";
import { optionPattern } from "../option-pattern.ts";
import { definePass, type PassContext } from "../pass.ts";
import { leftLines } from "../preview-text.ts";
import { gramRequest, inputsOf } from "../quantize/grams.ts";
import type { Layer } from "../quantize/layers.ts";
import { type InputGroup, inputGroups } from "./groups.ts";
import { basisBytes, groupBytes, previewBases } from "./preview.ts";

/** Options of `share-bases`. */
export interface ShareBasesOptions {
  sqnr: number;
  match: string | null;
  exclude: string | null;
}

/** Share of the mean diagonal added to Gram matrices. */
const DAMP = 1e-4;

function groupsOf(
  graph: Graph,
  o: ShareBasesOptions,
  ctx: Pick<PassContext, "model" | "shapes">,
  leave?: (why: string) => void,
): InputGroup[] {
  const match = optionPattern("share-bases", "match", o.match);
  const exclude = optionPattern("share-bases", "exclude", o.exclude);
  return inputGroups(
    graph,
    (name) => match?.test(name) !== false && exclude?.test(name) !== true,
    ctx,
    leave,
  );
}

const orderOf = ({ role }: Layer): "KN" | "NK" => (role.inAxis === 0 ? "KN" : "NK");

/** The rank that keeps the outputs of all layers of a group at the wanted SQNR. */
async function rankOf(g: InputGroup, gram: Tensor, o: ShareBasesOptions, ctx: PassContext): Promise<number> {
  const read = async (t: Tensor) => ({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) });
  const weights: Float64Array[] = [];
  for (const l of g.layers) {
    const w = Float64Array.from(asF32(await read(l.tensor)));
    const { rows, columns } = sizesOf(l.tensor.dims, orderOf(l));
    weights.push(orderOf(l) === "KN" ? transposed(w, columns, rows) : w);
  }
  const matrix = elementsOf(await read(gram)) as Float64Array;
  const { energy } = inputSpectrum({ weights, columns: g.columns, gram: matrix }, DAMP);
  return rankFor(energy, 10 ** (-o.sqnr / 10));
}

/** Puts a product with the basis in front of every input and one with its own factor in place of every layer. */
function write(graph: Graph, patch: PatchBuilder, g: InputGroup, made: BasisTensors): void {
  const [first] = g.layers;
  const down = patch.constant(made.down, `${first!.node.name}.basis`);
  const seen = new Map<number, number>();
  for (const [i, { node, value }] of g.layers.entries()) {
    const input = node.inputs[0]!;
    let low = seen.get(input);
    if (low === undefined) {
      [low] = patch.node({ op: "MatMul", name: `${node.name}/basis`, inputs: [input, down] });
      seen.set(input, low);
    }
    const up = patch.constant(made.ups[i]!, `${node.name}.up`);
    const bias = node.inputs[2] ?? null;
    const name = bias === null ? node.name : `${node.name}/up`;
    let [out] = patch.node({ op: "MatMul", name, inputs: [low as typeof input, up] });
    if (bias !== null) [out] = patch.node({ op: "Add", name: node.name, inputs: [out, bias] });
    patch.redirect(node.outputs[0]!, out).remove(node.id);
    if (graph.constant(value) !== null) patch.drop(value);
  }
}

/** Errors of a group's layers on held-out inputs. */
async function heldErrors(
  g: InputGroup,
  made: BasisTensors,
  held: Statistics,
  ctx: PassContext,
): Promise<(LayerError | null)[]> {
  const read = async (t: Tensor): Promise<Float64Array> =>
    Float64Array.from(asF32({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) }));
  const [columns, rank] = made.down.dims as [number, number];
  const down = await read(made.down);
  const out: (LayerError | null)[] = [];
  for (const [i, l] of g.layers.entries()) {
    const up = await read(made.ups[i]!);
    const rows = up.length / rank;
    const w = Float32Array.from(
      product(viewOf(down, columns, rank), viewOf(transposed(up, rank, rows), rows, rank)),
    );
    const after = { dtype: "f32", dims: [columns, rows], bytes: new Uint8Array(w.buffer) } as const;
    const before = l.tensor;
    const turned = orderOf(l) === "KN" ? before : transposeTensor(before, [1, 0]);
    const layer = { name: l.node.name, outAxis: 1, before: turned, after, shift: null };
    out.push(await heldOutError(layer, held, ctx.reader));
  }
  return out;
}

async function decideOne(
  g: InputGroup,
  made: BasisTensors,
  rank: number,
  use: { readonly bytes: readonly [number, number]; readonly held: Statistics | null },
  ctx: PassContext,
): Promise<void> {
  const { bytes, held } = use;
  const figures = elementsOf({
    dtype: "f64",
    dims: made.figures.dims,
    bytes: await ctx.reader.read(made.figures),
  }) as Float64Array;
  let [noise, signal] = [0, 0];
  for (let i = 0; i < figures.length; i += 2) {
    noise += figures[i]!;
    signal += figures[i + 1]!;
  }
  ctx.decide({
    node: g.layers[0]!.node.name,
    kind: "applied",
    rule: "shared-basis",
    from: `${g.layers.length} weights over ${g.columns} inputs: ${g.what}`,
    to: `one basis of rank ${rank}`,
    count: g.layers.length,
    bytesBefore: bytes[0],
    bytesAfter: bytes[1],
    error: {
      metric: "sqnr-db",
      value: Math.round(1e4 * 10 * Math.log10(signal / Math.max(noise, 1e-300))) / 1e4,
      ...heldOutField(held === null ? [] : await heldErrors(g, made, held, ctx)),
    },
  });
}

export const shareBases = definePass<ShareBasesOptions>({
  name: "share-bases",
  family: "share",
  summary: "Gives linear layers with the same input one basis of that input and small factors of their own",
  doc: `Layers that read the same value, and modulations of norms that read embeddings of the same timestep and class,
often use few directions of it. Their weights are stacked and factored together (Basis Sharing, arXiv:2410.03765), with
the Gram matrix of the input along sampled trajectories as the measure: one product with a shared matrix of \`rank\`
columns, then one small product per layer. The rank is the least that keeps the outputs of all of them together at
\`sqnr\`.

Refused where it does not save bytes, which also means that it would not save products. Guarded layers, inputs of more
than 1024 channels and models that cannot be sampled are left alone. The figure of a group is the SQNR of its outputs as
predicted from the Gram matrix; embeddings see few different inputs, and it holds for those.`,
  effect: "lossy",
  minSqnrDb: 20,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      sqnr: {
        type: "number",
        minimum: 5,
        maximum: 100,
        default: 40,
        description: "SQNR in dB that the outputs of the layers of a group keep together.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only layers whose node name matches share a basis.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; layers whose node name matches stay as they are.",
      },
    },
  },
  wantsStatistics(graph, o, ctx) {
    const grams = groupsOf(graph, o, ctx)
      .flatMap((g) => g.layers.map((l) => gramRequest(graph, ctx.shapes(), l)))
      .filter((r) => r !== null);
    return grams.length === 0 ? null : { values: [], grams };
  },
  preview(graph, o, ctx) {
    const left = leftLines();
    const leave = (why: string): void =>
      left.decide({ node: "", kind: "skipped", rule: "shared-basis", why });
    return [...previewBases(groupsOf(graph, o, ctx, leave), o.sqnr), ...left.lines("layer")];
  },
  version: 1,
  async run(graph, o, ctx) {
    const groups = groupsOf(graph, o, ctx);
    const leave = (g: InputGroup, why: string): void =>
      ctx.decide({
        node: g.layers[0]!.node.name,
        kind: "skipped",
        rule: "shared-basis",
        why: `${g.what}: ${why}`,
        count: g.layers.length,
      });
    const patch = new PatchBuilder(graph, "share-bases");
    const taken: ((held: Statistics | null) => Promise<void>)[] = [];
    const asked: Layer[] = [];
    for (const g of groups) {
      const data = ctx.statistics === null ? null : inputsOf(g.layers, g.columns, ctx.statistics);
      if (data === null) {
        leave(g, "their input was not sampled");
        continue;
      }
      const rank = await rankOf(g, data.gram, o, ctx);
      const before = groupBytes(g);
      const after = basisBytes(g, rank);
      if (after >= before) {
        leave(g, `${o.sqnr} dB need rank ${rank}, which takes ${after} bytes, and the weights ${before}`);
        continue;
      }
      const weights = g.layers.map((l) => ({ tensor: l.tensor, order: orderOf(l) }));
      const made = shareBasis(weights, data.gram, { rank, damp: DAMP });
      write(graph, patch, g, made);
      asked.push(...g.layers);
      taken.push((held) => decideOne(g, made, rank, { bytes: [before, after], held }, ctx));
    }
    const held = await heldOutInputs(
      asked.map((l) => gramRequest(graph, ctx.shapes(), l)),
      ctx,
    );
    patch.apply();
    for (const say of taken) await say(held);
  },
});
