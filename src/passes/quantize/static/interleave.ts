import type { ValueStatistics } from "../../../calibrate/statistics/types.ts";
import { attrInt, attrString, type Graph, type Node } from "../../../ir/graph.ts";
import type { Site, StaticLayer } from "./sites.ts";

/** The four phases of a doubled image: convolutions of one site that only a Concat and a DepthToSpace put together. */
export interface Interleave {
  readonly concat: Node;
  readonly depthToSpace: Node;
  /** Even rows and columns, even rows, odd rows, odd rows and columns: the order of DepthToSpace in mode DCR. */
  readonly layers: readonly [StaticLayer, StaticLayer, StaticLayer, StaticLayer];
}

function onlyUser(graph: Graph, node: Node): Node | null {
  const out = node.outputs[0]!;
  const users = graph.users(out);
  return users.length === 1 && !graph.isOutput(out) ? graph.node(users[0]!) : null;
}

/** The interleaving that all layers of a site belong to, as `split-upsample` writes it; `null` for every other site. */
export function interleaveOf(graph: Graph, site: Site): Interleave | null {
  if (site.kind !== "conv" || site.layers.length !== 4) return null;
  const concat = onlyUser(graph, site.layers[0]!.node);
  if (concat?.op !== "Concat" || attrInt(concat, "axis") !== 1 || concat.inputs.length !== 4) return null;
  const last = onlyUser(graph, concat);
  if (last?.op !== "DepthToSpace" || attrInt(last, "blocksize") !== 2) return null;
  if ((attrString(last, "mode") ?? "DCR") !== "DCR") return null;
  const [a, b, c, d] = concat.inputs.map((v) => site.layers.find((l) => l.output === v));
  if (a === undefined || b === undefined || c === undefined || d === undefined) return null;
  const layers = [a, b, c, d] as const;
  if (layers.some((l) => onlyUser(graph, l.node) !== concat)) return null;
  return { concat, depthToSpace: last, layers };
}

/** Statistics of several values of the same channels as if they were one: what an interleaved image holds. */
export function unionOf(values: readonly ValueStatistics[]): ValueStatistics {
  const [first] = values as [ValueStatistics];
  const over = (pick: (v: ValueStatistics) => Float64Array, join: (...x: number[]) => number): Float64Array =>
    pick(first).map((_, i) => join(...values.map((v) => pick(v)[i]!)));
  const average = (...x: number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
  const rows = values.reduce((n, v) => n + v.rows, 0);
  const calls = first.min.length / first.channels;
  const sample = new Float32Array(calls * rows * first.channels);
  let at = 0;
  for (let call = 0; call < calls; call++)
    for (const v of values) {
      const size = v.rows * v.channels;
      sample.set(v.sample.subarray(call * size, (call + 1) * size), at);
      at += size;
    }
  return {
    name: first.name,
    channels: first.channels,
    count: values.reduce((n, v) => n + v.count, 0),
    min: over((v) => v.min, Math.min),
    max: over((v) => v.max, Math.max),
    mean: over((v) => v.mean, average),
    square: over((v) => v.square, average),
    rows,
    sample,
  };
}
