import type { CrossGram, CrossRequest } from "../../calibrate/statistics/cross.ts";
import type { Statistics, ValueRequest } from "../../calibrate/statistics/types.ts";
import type { Graph } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, type Tensor } from "../../ir/tensor.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { type ChannelMoments, channelStub, lowRankStub } from "../../numeric/prune/stub.ts";
import type { Branch } from "./branches.ts";

/** What stays in place of a branch. */
export type StubKind = "low-rank" | "affine" | "mean" | "none";

/** A stub with its numbers, per channel of the stream. */
export type Stub =
  | { readonly kind: "none" }
  | { readonly kind: "mean"; readonly shift: Float32Array }
  | { readonly kind: "affine"; readonly shift: Float32Array; readonly scale: Float32Array }
  | {
      readonly kind: "low-rank";
      readonly shift: Float32Array;
      readonly rank: number;
      /** `channels` × `rank`. */
      readonly down: Float32Array;
      /** `rank` × `channels`. */
      readonly up: Float32Array;
    };

/** Share of the mean diagonal added to covariances of streams. */
const DAMP = 1e-3;

const nameOf = (graph: Graph, b: Branch, part: "stream" | "branch" | "sum"): string =>
  graph.value(part === "sum" ? b.node.outputs[0]! : b[part]).name;

/** Values whose distribution a stub is computed from. */
export function stubValues(graph: Graph, branches: readonly Branch[], kind: StubKind): ValueRequest[] {
  const parts =
    kind === "none" ? [] : kind === "mean" ? (["branch"] as const) : (["stream", "branch", "sum"] as const);
  const names = branches.flatMap((b) =>
    parts.map((p) => ({ name: nameOf(graph, b, p), axis: b.axis, rows: 0 })),
  );
  return [...new Map(names.map((n) => [n.name, n])).values()];
}

/** Branches against their inputs, for maps of all channels; keyed by the name of the addition. */
export function stubCrossings(
  graph: Graph,
  branches: readonly Branch[],
  statistics: Statistics,
): CrossRequest[] {
  return branches.map((b) => {
    const weights = weightsOf(statistics, nameOf(graph, b, "branch"));
    return {
      layer: b.node.name,
      value: nameOf(graph, b, "stream"),
      original: nameOf(graph, b, "branch"),
      axis: b.axis,
      unfold: null,
      ...(weights !== null && { weights: weights.map((w) => w * weights.length) }),
    };
  });
}

/**
 * What calls weigh in a fit: inversely to the energy of what the branch adds there, so that the error counts relative to
 * it at every step. A branch that is silent at some steps would else be heard at them.
 */
function weightsOf(statistics: Statistics, branch: string): Float64Array | null {
  const found = statistics.value(branch);
  if (found === undefined) return null;
  const energies = statistics.calls.map((_, i) =>
    found.square.subarray(i * found.channels, (i + 1) * found.channels).reduce((a, b) => a + b, 0),
  );
  const least = 1e-6 * energies.reduce((a, b) => Math.max(a, b), Number.MIN_VALUE);
  const raw = energies.map((e, i) => statistics.calls[i]!.weight / Math.max(e, least));
  const total = raw.reduce((a, b) => a + b, 0);
  return Float64Array.from(raw, (w) => w / total);
}

/** Mean and mean square per channel over calls of some weights. */
function moments(statistics: Statistics, name: string, weights: Float64Array): ChannelMoments | null {
  const found = statistics.value(name);
  if (found === undefined) return null;
  const over = (x: Float64Array): Float64Array =>
    Float64Array.from({ length: found.channels }, (_, c) =>
      weights.reduce((s, w, i) => s + w * x[i * found.channels + c]!, 0),
    );
  return { mean: over(found.mean), square: over(found.square) };
}

/** What is known of branches. */
export interface StubSources {
  readonly statistics: Statistics | null;
  readonly crossed: ReadonlyMap<string, CrossGram> | null;
}

/** The stub of a branch: of the kind asked for, else the best that what was observed allows. */
export function stubOf(
  graph: Graph,
  b: Branch,
  o: { readonly stub: StubKind; readonly rank: number },
  { statistics, crossed }: StubSources,
): Stub {
  if (o.stub === "none" || statistics === null) return { kind: "none" };
  const name = nameOf(graph, b, "branch");
  const weights = weightsOf(statistics, name);
  const branch = weights === null ? null : moments(statistics, name, weights);
  if (weights === null || branch === null) return { kind: "none" };
  const c = o.stub === "low-rank" ? crossed?.get(b.node.name) : undefined;
  if (c?.exact) {
    const { size, own, cross, ownMean, originalMean: branchMean } = c;
    const found = lowRankStub({ size, own, cross, ownMean, branchMean }, o.rank, DAMP);
    return {
      kind: "low-rank",
      rank: found.rank,
      shift: Float32Array.from(found.shift),
      down: Float32Array.from(transposed(found.down, found.rank, size)),
      up: Float32Array.from(transposed(found.up, size, found.rank)),
    };
  }
  const mean: Stub = { kind: "mean", shift: Float32Array.from(branch.mean) };
  if (o.stub === "mean") return mean;
  const stream = moments(statistics, nameOf(graph, b, "stream"), weights);
  const sum = moments(statistics, nameOf(graph, b, "sum"), weights);
  if (stream === null || sum === null) return mean;
  const { scale, shift } = channelStub(stream, branch, sum);
  return { kind: "affine", scale: Float32Array.from(scale), shift: Float32Array.from(shift) };
}

/** FLOPs a stub takes where the addition it stands for took `add`, one per element. */
export function stubFlops(stub: Stub, add: number): number {
  if (stub.kind === "none") return -add;
  if (stub.kind === "mean") return 0;
  return stub.kind === "affine" ? add : add + 4 * add * stub.rank;
}

/** Takes a branch out and puts its stub in its place. */
export function putStub(graph: Graph, b: Branch, stub: Stub): void {
  const patch = new PatchBuilder(graph, "prune-blocks");
  const { name } = b.node;
  const [out] = b.node.outputs;
  if (stub.kind === "none") {
    patch.redirect(out!, b.stream).remove(b.node.id).apply();
    return;
  }
  const image = b.axis === 1;
  const perChannel = (x: Float32Array): Tensor => f32Tensor(x, image ? [x.length, 1, 1] : [x.length]);
  const shift = patch.constant(perChannel(stub.shift), `${name}_mean`);
  let base = b.stream;
  if (stub.kind === "affine") {
    const factor = patch.constant(perChannel(stub.scale.map((v) => 1 + v)), `${name}_scale`);
    [base] = patch.node({ op: "Mul", name: `${name}/stub`, inputs: [b.stream, factor] });
  } else if (stub.kind === "low-rank") {
    const channels = stub.shift.length;
    const product = (
      x: typeof base,
      w: Float32Array,
      from: number,
      to: number,
      part: string,
    ): typeof base => {
      const turned = image ? Float32Array.from(transposed(Float64Array.from(w), from, to)) : w;
      const weight = f32Tensor(turned, image ? [to, from, 1, 1] : [from, to]);
      const inputs = [x, patch.constant(weight, `${name}/stub.${part}.weight`)];
      return patch.node({ op: image ? "Conv" : "MatMul", name: `${name}/stub.${part}`, inputs })[0];
    };
    const low = product(b.stream, stub.down, channels, stub.rank, "down");
    const change = product(low, stub.up, stub.rank, channels, "up");
    [base] = patch.node({ op: "Add", name: `${name}/stub`, inputs: [b.stream, change] });
  }
  patch.replace(b.node, { inputs: [base, shift] }).apply();
}
