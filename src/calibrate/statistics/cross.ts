import type { Model } from "../../ir/graph.ts";
import type { Runtime } from "../../runtime/index.ts";
import type { Pipeline } from "../pipeline.ts";
import { type Follower, follow } from "./follow.ts";
import { bufferRows } from "./gram.ts";
import { gramProbe } from "./gram-sink.ts";
import { computedFloats, fedShapes } from "./observe.ts";
import { createObserver } from "./observer.ts";
import { type PositionsProbe, positionsShape } from "./probes.ts";
import { accumulate, type GramProduct, symmetrise, withGramProduct } from "./product.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./teacher.ts";
import type { GramRequest } from "./types.ts";

/**
 * What fitting a layer behind a compressed prefix needs, of its inputs x̂ in the compressed model and x in the original
 * at equal positions: weighted sums divided by the number of positions, row major, float64. Rows of matrices are as many
 * as the compressed model's inputs, `size`.
 */
export interface CrossGram {
  readonly layer: string;
  readonly size: number;
  /** Σ weight · x̂ xᵀ, as wide as `originalMean`. */
  readonly cross: Float64Array;
  /** Σ weight · x̂ x̂ᵀ, symmetric. */
  readonly own: Float64Array;
  /** Σ weight · x̂ and Σ weight · x. */
  readonly ownMean: Float64Array;
  readonly originalMean: Float64Array;
  /** Σ weight · x xᵀ, symmetric; of requests that are `full`. */
  readonly original?: Float64Array;
  readonly positions: number;
  /** As for {@link GramStatistics.exact}. */
  readonly exact: boolean;
}

/** A layer input to cross; buckets are ignored. */
export interface CrossRequest extends GramRequest {
  /** Name of the value in the original, where it differs. */
  readonly original?: string;
  /** Also Σ x xᵀ of the original, whose channels may then be more than the compressed model's. */
  readonly full?: boolean;
  /** What calls weigh besides their own weight, mean 1; the same for all unless given. */
  readonly weights?: ArrayLike<number>;
}

/** Options of {@link collectCross}. */
export interface CrossOptions extends TeacherOptions {
  /** Positions per column over all calls; default 8. */
  readonly oversampling?: number;
}

/**
 * Cross-Grams of layer inputs between a compressed model and the original, both on the inputs the pipeline's denoiser
 * saw on its calibration trajectory. Layers whose value either model does not compute as floats of equal shape are
 * absent. Fails with what sampling or the runtime fails with.
 */
export async function collectCross(
  models: { readonly compressed: Model; readonly original: Model },
  runtime: Runtime,
  pipeline: Pipeline,
  requests: readonly CrossRequest[],
  options: CrossOptions = {},
): Promise<ReadonlyMap<string, CrossGram>> {
  const teacher = await openTeacher(runtime, pipeline, options);
  try {
    const { oversampling } = options;
    return await crossFrom(teacher, {
      ...models,
      runtime,
      pipeline,
      requests,
      ...(oversampling !== undefined && { oversampling }),
    });
  } finally {
    await teacher.release();
  }
}

/** What {@link crossFrom} needs. */
export interface CrossFrom {
  readonly compressed: Model;
  readonly original: Model;
  readonly runtime: Runtime;
  readonly pipeline: Pipeline;
  readonly requests: readonly CrossRequest[];
  readonly oversampling?: number;
}

/** As {@link collectCross}, with a teacher that is already there. */
export async function crossFrom(
  teacher: Teacher,
  options: CrossFrom,
): Promise<ReadonlyMap<string, CrossGram>> {
  const { compressed, original, runtime, pipeline } = options;
  const followers = {
    own: follow(compressed, pipeline, teacher),
    original: follow(original, pipeline, teacher),
  };
  return await withGramProduct(runtime, teacher.threads, async (product) => {
    const pairs = pairsOf(teacher, followers, options, product);
    if (pairs.length === 0) return new Map();
    const session = { threads: teacher.threads, optimize: "extended" } as const;
    const own = createObserver(
      compressed,
      pairs.map((p) => p.own),
      runtime,
      session,
    );
    const other = createObserver(
      original,
      pairs.map((p) => p.original),
      runtime,
      session,
    );
    try {
      await teacher.visit(async (at) => {
        const theirs = followers.original.at(at);
        const { weight } = teacher.calls[at.call]!;
        for (const [i, { feeds, draw }] of followers.own.at(at).entries()) {
          const a = await own.run(feeds, draw);
          const b = await other.run(theirs[i]!.feeds, draw);
          for (const [k, pair] of pairs.entries()) {
            const part = (r: typeof a) => {
              const { offset, length } = r.slots[k]!;
              return r.answers.subarray(offset, offset + length);
            };
            await pair.sum.add(part(a), part(b), weight * (pair.weights?.[at.call] ?? 1));
          }
        }
      });
    } finally {
      await own.release();
      await other.release();
    }
    const found = new Map<string, CrossGram>();
    for (const { layers, sum, exact } of pairs) {
      const sums = await sum.finish();
      for (const layer of layers) found.set(layer, { layer, exact, ...sums });
    }
    return found;
  });
}

interface Pair {
  /** Layers that read the value in the same way share its sums. */
  readonly layers: readonly string[];
  readonly own: PositionsProbe;
  readonly original: PositionsProbe;
  readonly sum: CrossSum;
  readonly weights: ArrayLike<number> | null;
  readonly exact: boolean;
}

function pairsOf(
  teacher: Teacher,
  followers: { readonly own: Follower; readonly original: Follower },
  { compressed, original, requests, oversampling }: CrossFrom,
  product: GramProduct,
): Pair[] {
  const side = (model: Model, follower: Follower) => {
    const shapes = fedShapes(model, follower.example);
    const floats = computedFloats(model, shapes);
    return (name: string) => {
      const id = floats.get(name);
      return id === undefined ? null : shapes.staticShape(id);
    };
  };
  if (followers.own.runs !== followers.original.runs)
    throw new Error("the two models cut the batch differently; compare models of one batch size");
  const dimsOwn = side(compressed, followers.own);
  const dimsOriginal = side(original, followers.original);
  const runs = teacher.calls.length * followers.own.runs;
  const groups = new Map<string, [CrossRequest, ...CrossRequest[]]>();
  for (const r of requests) {
    const key = JSON.stringify([
      r.value,
      r.original ?? r.value,
      r.axis,
      r.unfold,
      r.full === true,
      Array.from(r.weights ?? []),
    ]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [r]);
    else group.push(r);
  }
  return [...groups.values()].flatMap((group) => {
    const [request] = group;
    const dims = dimsOwn(request.value);
    const name = request.original ?? request.value;
    const theirs = dimsOriginal(name);
    const full = request.full === true;
    if (dims === null || theirs === null || !comparable(dims, theirs, full ? request.axis : null)) return [];
    // Laid out for the wider of the two: both are looked at in the same places.
    const { probe, exact } = gramProbe(request, theirs, oversampling ?? 8, runs);
    const own = { ...probe, gram: false };
    const sizes = { own: positionsShape(own, dims).size, original: positionsShape(own, theirs).size };
    return [
      {
        layers: group.map((r) => r.layer),
        own,
        original: { ...own, value: name },
        sum: crossSum(sizes, full, product),
        weights: request.weights ?? null,
        exact,
      },
    ];
  });
}

/** True when dims are equal, but for those of one axis where given. */
function comparable(a: readonly number[], b: readonly number[], free: number | null): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i] || i === free);
}

/** Sums pairs of rows, a buffer at a time. */
interface CrossSum {
  add(own: Float32Array, original: Float32Array, weight: number): Promise<void>;
  finish(): Promise<Omit<CrossGram, "layer" | "exact">>;
}

function crossSum(
  sizes: { readonly own: number; readonly original: number },
  full: boolean,
  product: GramProduct,
): CrossSum {
  const sides = [sizes.own, sizes.original] as const;
  const capacity = bufferRows(Math.max(...sides));
  const buffers = sides.map((size) => new Float32Array(capacity * size));
  const means = sides.map((size) => new Float64Array(size));
  const cross = new Float64Array(sizes.own * sizes.original);
  const own = new Float64Array(sizes.own ** 2);
  const original = full ? new Float64Array(sizes.original ** 2) : null;
  let filled = 0;
  let positions = 0;
  async function flush(): Promise<void> {
    if (filled === 0) return;
    const [a, b] = sides.map((size, i) => buffers[i]!.subarray(0, filled * size));
    accumulate(cross, await product(filled, a!, b!), 1);
    accumulate(own, await product(filled, a!, a!), 1);
    if (original !== null) accumulate(original, await product(filled, b!, b!), 1);
    filled = 0;
  }
  return {
    async add(mine, theirs, weight) {
      const root = Math.sqrt(weight);
      const rows = mine.length / sizes.own;
      for (let r = 0; r < rows; r++) {
        if (filled === capacity) await flush();
        const place = filled++;
        for (const [i, from] of [mine, theirs].entries()) {
          const size = sides[i as 0 | 1];
          const buffer = buffers[i]!;
          const mean = means[i]!;
          for (let k = 0; k < size; k++) {
            const x = from[r * size + k]!;
            mean[k]! += weight * x;
            buffer[place * size + k] = root * x;
          }
        }
      }
      positions += rows;
    },
    async finish() {
      await flush();
      const scale = positions === 0 ? 0 : 1 / positions;
      symmetrise(own, sizes.own, scale);
      if (original !== null) symmetrise(original, sizes.original, scale);
      const scaled = (v: Float64Array): Float64Array => v.map((x) => x * scale);
      return {
        size: sizes.own,
        cross: scaled(cross),
        own,
        ownMean: scaled(means[0]!),
        originalMean: scaled(means[1]!),
        ...(original !== null && { original }),
        positions,
      };
    },
  };
}
