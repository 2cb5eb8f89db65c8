import type { CrossGram } from "../../calibrate/statistics/cross.ts";
import { gramStatistics } from "../../calibrate/statistics/gram.ts";
import type { GramStatistics, Statistics } from "../../calibrate/statistics/types.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { steerTensor } from "../../runtime/kernels/steer-weight.ts";
import { flattened } from "../../targets/lower/weights.ts";
import { doubles } from "./grams.ts";
import { correctedBias, type LayerBias } from "./layer-bias.ts";
import type { Shared } from "./plan.ts";

/** Share of the mean diagonal added to Gram matrices before weights are moved: less follows the noise of the prefix. */
const DAMP = 1;

/** Sums over all positions of all layers that share a weight; `null` when one was not observed at its full size. */
function crossOf(s: Shared, size: number, crossed: ReadonlyMap<string, CrossGram>): CrossGram | null {
  const found = s.uses.map((u) => crossed.get(u.layer.node.name));
  if (found.some((c) => c === undefined || c.size !== size || !c.exact)) return null;
  const parts = found as CrossGram[];
  const [first, ...more] = parts as [CrossGram, ...CrossGram[]];
  if (more.every((c) => c.own === first.own)) return first;
  const positions = parts.reduce((n, c) => n + c.positions, 0);
  const mix = (of: (c: CrossGram) => Float64Array): Float64Array => {
    const sum = new Float64Array(of(first).length);
    for (const c of parts) for (const [i, v] of of(c).entries()) sum[i]! += (v * c.positions) / positions;
    return sum;
  };
  return {
    ...first,
    positions,
    cross: mix((c) => c.cross),
    own: mix((c) => c.own),
    ownMean: mix((c) => c.ownMean),
    originalMean: mix((c) => c.originalMean),
  };
}

/** A weight moved to where its layer needs it behind the compressed ones, and the bias that goes with it. */
export interface SteeredWeight {
  readonly shared: Shared;
  readonly bias: LayerBias | null;
}

function withTensor(s: Shared, tensor: Tensor): Shared {
  return { ...s, uses: s.uses.map((u) => ({ ...u, layer: { ...u.layer, tensor } })) };
}

/** How {@link steered} treats a weight. */
export interface Steering {
  /** The bias that may take up a mean. */
  readonly bias: LayerBias | null;
  /** Whether the weight moves too, towards the one whose output on the inputs it will see is the original's. */
  readonly move: boolean;
}

/**
 * Makes a layer answer on the inputs it will see as it did on those it was made for: the mean by its bias, and the rest
 * by moving the weight when asked. `null` where the inputs were not observed.
 */
export function steered(
  s: Shared,
  crossed: ReadonlyMap<string, CrossGram>,
  { bias, move }: Steering,
): SteeredWeight | null {
  const { tensor, role } = s.uses[0]!.layer;
  const matrix = flattened({ tensor, ...role });
  if (matrix === null) return null;
  const size = elementCount(tensor.dims) / tensor.dims[role.outAxis]!;
  const c = crossOf(s, size, crossed);
  if (c === null) return null;
  const { weight, shift } = steerTensor(matrix.flat, {
    order: matrix.axis === 0 ? "KN" : "NK",
    damp: move ? DAMP : null,
    own: doubles(c.own, [size, size]),
    cross: doubles(c.cross, [size, size]),
    means:
      bias === null ? null : { own: doubles(c.ownMean, [size]), original: doubles(c.originalMean, [size]) },
  });
  return {
    shared: move ? withTensor(s, reshapeTensor(weight, tensor.dims)) : s,
    bias: bias === null || shift === null ? bias : { ...bias, tensor: correctedBias(bias, shift) },
  };
}

/** What layers see behind the compressed ones, as statistics of the model as it is now. */
export function ownStatistics(
  calls: Statistics["calls"],
  crossed: ReadonlyMap<string, CrossGram>,
): Statistics {
  const gram = (layer: string): GramStatistics | undefined => {
    const c = crossed.get(layer);
    if (c === undefined) return undefined;
    const { size, own, ownMean, positions, exact } = c;
    return gramStatistics({ layer, size, sums: [own], means: [ownMean], positions: [positions], exact });
  };
  return { calls, value: () => undefined, gram };
}
