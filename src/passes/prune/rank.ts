import type { PruneGroup } from "../../ir/anatomy/groups/index.ts";
import type { Graph } from "../../ir/graph.ts";
import type { TensorReader } from "../../ir/tensor.ts";
import { eliminate, inverseMoments } from "../../numeric/prune/eliminate.ts";
import { asF32 } from "../../runtime/kernels/elements.ts";
import { splitAxis } from "../../runtime/kernels/kernel.ts";
import type { PruneOptions } from "./options.ts";
import type { GroupReader } from "./readers.ts";

/** Removals between refits of a group with many units. */
const STEPS = 64;

/** Sum of absolute weights that make each unit. */
async function magnitudes(graph: Graph, group: PruneGroup, reader: TensorReader): Promise<Float64Array> {
  const out = new Float64Array(group.units.length);
  for (const { node, input, axis, rows, weight } of group.producers) {
    if (!weight) continue;
    const tensor = graph.value(graph.node(node).inputs[input]!).init!;
    const x = asF32({ dtype: tensor.dtype, dims: tensor.dims, bytes: await reader.read(tensor) });
    const { outer, length, inner } = splitAxis(tensor.dims, axis);
    const sums = new Float64Array(length);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < length; i++) {
        const at = (o * length + i) * inner;
        for (let k = 0; k < inner; k++) sums[i] = sums[i]! + Math.abs(x[at + k]!);
      }
    for (const [u, list] of rows.entries()) for (const i of list) out[u] = out[u]! + sums[i]!;
  }
  return out;
}

/** Sums a figure of columns over each unit's columns in every reader. */
function byUnit(
  group: PruneGroup,
  readers: readonly GroupReader[],
  figure: (r: GroupReader) => Float64Array,
): Float64Array {
  const out = new Float64Array(group.units.length);
  for (const r of readers) {
    const values = figure(r);
    for (const [u, list] of r.units.entries()) for (const i of list) out[u] = out[u]! + values[i]!;
  }
  return out;
}

const energies = ({ reader }: GroupReader): Float64Array =>
  Float64Array.from({ length: reader.size }, (_, i) => reader.gram[i * reader.size + i]!);

function wanda(r: GroupReader): Float64Array {
  const { weights, rows, size } = r.reader;
  const energy = energies(r);
  return energy.map((e, i) => {
    let sum = 0;
    for (let o = 0; o < rows; o++) sum += weights[o * size + i]! ** 2;
    return (sum * e) / Math.max(r.signal, Number.MIN_VALUE);
  });
}

/** Share of an input that the others do not explain, up to the ridge: 1 - λ·[(G + λ)⁻¹]_ii. */
function leverage(damp: number) {
  return (r: GroupReader): Float64Array => {
    const { size } = r.reader;
    const ridge = Math.max(damp, 0.01);
    const inverse = inverseMoments(r.reader, ridge);
    const mean = energies(r).reduce((a, b) => a + b, 0) / size;
    return Float64Array.from({ length: size }, (_, i) => 1 - ridge * mean * inverse[i * size + i]!);
  };
}

/** Positions of units, least important first. Without readers only `magnitude` can rank. */
export async function rank(
  graph: Graph,
  group: PruneGroup,
  readers: readonly GroupReader[] | null,
  o: Pick<PruneOptions, "score" | "damp" | "most">,
  reader: TensorReader,
): Promise<number[]> {
  if (readers !== null && o.score === "obs") {
    const most = Math.ceil(group.units.length * o.most);
    const batch = Math.max(1, Math.ceil(most / STEPS));
    const of = readers.map((r) => ({
      reader: r.reader,
      units: r.units,
      factor: 1 / Math.max(r.signal, Number.MIN_VALUE),
    }));
    const { order } = eliminate(of, { damp: o.damp, most, batch });
    const gone = new Set(order);
    return [...order, ...group.units.keys()].filter((u, i) => i < order.length || !gone.has(u));
  }
  const scores =
    readers === null || o.score === "magnitude"
      ? await magnitudes(graph, group, reader)
      : o.score === "energy"
        ? byUnit(group, readers, energies)
        : o.score === "wanda"
          ? byUnit(group, readers, wanda)
          : byUnit(group, readers, leverage(o.damp));
  return [...group.units.keys()].sort((a, b) => scores[a]! - scores[b]! || a - b);
}
