import type { Dense } from "../../ir/evaluator.ts";
import { type Graph, intsAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";
import { matrix, multiply, turned } from "../../numeric/linalg/gemm.ts";
import { asF32, encodeFloat } from "../../runtime/kernels/elements.ts";
import type { FactorStatistics } from "../../runtime/kernels/factor-inputs.ts";
import { type LowRankTensors, lowRankTensors } from "../../runtime/kernels/factor-low-rank.ts";
import type { ProductWork } from "../../targets/cost/product.ts";
import { correctBias, layerBias } from "../quantize/layer-bias.ts";
import type { Lengths } from "./lengths.ts";
import type { Site } from "./sites.ts";

/** Share of the mean diagonal added to Gram matrices. */
export const DAMP = 0.01;

/** Layers that read one input, with what is known of it. */
export interface Group {
  readonly sites: readonly [Site, ...Site[]];
  readonly statistics: FactorStatistics | null;
}

/** Positions and input elements of a group; 1 where shapes are unknown. */
function extents(g: Group, lengths: Lengths): { positions: number; input: number } {
  const [site] = g.sites;
  const out = lengths.elements(site.layer.node.outputs[0]!);
  return {
    positions: out === null ? 1 : out / site.rows,
    input: lengths.elements(site.input) ?? site.columns,
  };
}

/** Work of a group as it is. */
export function originalWork(g: Group, lengths: Lengths): ProductWork[] {
  const { positions: p, input } = extents(g, lengths);
  return g.sites.map(({ rows, columns }) => ({
    flops: 2 * p * rows * columns,
    bytes: 4 * (input + rows * columns + p * rows),
    weights: 4 * rows * columns,
  }));
}

/** Work of a group as a shared first product of `rank` outputs and a second one each. */
export function lowRankWork(g: Group, lengths: Lengths, rank: number): ProductWork[] {
  const { positions: p, input } = extents(g, lengths);
  const { columns } = g.sites[0];
  return [
    {
      flops: 2 * p * rank * columns,
      bytes: 4 * (input + rank * columns + p * rank),
      weights: 4 * rank * columns,
    },
    ...g.sites.map(({ rows }) => ({
      flops: 2 * p * rank * rows,
      bytes: 4 * (p * rank + rank * rows + p * rows),
      weights: 4 * rank * rows,
    })),
  ];
}

/** Largest rank a group can have. */
export function fullRank(g: Group): number {
  return Math.min(
    g.sites[0].columns,
    g.sites.reduce((n, s) => n + s.rows, 0),
  );
}

/** The factors of a group. */
export function factorsOf(g: Group, rank: number): LowRankTensors {
  const { form } = g.sites[0];
  return lowRankTensors(
    g.sites.map((s) => s.layer.tensor),
    { form, rank, damp: DAMP, statistics: g.statistics },
  );
}

/** The weight that the factors of one layer stand for, in its own type and shape. */
export async function standsFor(
  site: Site,
  first: Tensor,
  second: Tensor,
  reader: TensorReader,
): Promise<Dense> {
  const read = async (t: Tensor): Promise<Float32Array> =>
    asF32({ dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) });
  const { rows, columns, form } = site;
  const { dtype, dims } = site.layer.tensor;
  const [a, b] = [await read(first), await read(second)];
  const rank = b.length / rows;
  const [inner, outer] =
    form === "conv"
      ? [matrix(a, rank, columns), matrix(b, rows, rank)]
      : [
          turned(matrix(a, columns, rank)),
          form === "NK" ? matrix(b, rows, rank) : turned(matrix(b, rank, rows)),
        ];
  const w = form === "KN" ? multiply(turned(inner), turned(outer)) : multiply(outer, inner);
  return { dtype, dims, bytes: encodeFloat(dtype, Float32Array.from(w)) };
}

function firstNode(
  patch: PatchBuilder,
  { layer, input, form }: Site,
  name: string,
  weight: ValueId,
): ValueId {
  const { attrs } = layer.node;
  return patch.node({
    op: form === "conv" ? "Conv" : "MatMul",
    name,
    inputs: [input, weight],
    ...(form === "conv" && { attrs: Object.fromEntries(attrs) }),
  })[0];
}

/** Attributes of the second factor: a matrix product keeps its own, a convolution becomes a plain 1×1. */
function secondAttrs({ form, layer }: Site): Node["attrs"] {
  return form === "conv" ? new Map([["kernel_shape", intsAttr([1, 1])]]) : layer.node.attrs;
}

/** Writes a group as its factors; returns the bytes of each layer's weights afterwards, the first bears the shared part. */
export function writeFactors(graph: Graph, patch: PatchBuilder, g: Group, t: LowRankTensors): number[] {
  const [lead] = g.sites;
  const base = lead.layer.node.name || `w${lead.layer.value}`;
  const down = firstNode(
    patch,
    lead,
    `${base}/low-rank.down`,
    patch.constant(t.first, `${base}/low-rank.down.weight`),
  );
  return g.sites.map((site, i) => {
    const { node, role, value } = site.layer;
    const name = node.name || `w${value}`;
    const second = patch.constant(t.seconds[i]!, `${name}/low-rank.up.weight`);
    const inputs = node.inputs.map((id, k) =>
      k === role.activation ? down : k === role.input ? second : id,
    );
    patch.replace(node, { inputs, attrs: secondAttrs(site) });
    if (graph.constant(value) !== null) patch.drop(value);
    const bias = layerBias(graph, site.layer);
    if (t.corrections.length > 0 && bias !== null)
      correctBias(patch, bias, t.corrections[i]!, `${name}/low-rank.up.bias`);
    return tensorBytes(t.seconds[i]!) + (i === 0 ? tensorBytes(t.first) : 0);
  });
}
