import type { Model } from "../../ir/graph.ts";
import type { Runtime } from "../../runtime/index.ts";
import type { Pipeline } from "../pipeline.ts";
import { type Follower, follow } from "./follow.ts";
import { bufferRows } from "./gram.ts";
import { gramProbe } from "./gram-sink.ts";
import { computedFloats, fedShapes } from "./observe.ts";
import { createObserver } from "./observer.ts";
import type { PositionsProbe } from "./probes.ts";
import { accumulate, type GramProduct, symmetrise, withGramProduct } from "./product.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./teacher.ts";
import type { GramRequest } from "./types.ts";

/**
 * What fitting a layer behind a compressed prefix needs, of its inputs x̂ in the compressed model and x in the original
 * at equal positions: weighted sums divided by the number of positions, `size × size`, row major, float64.
 */
export interface CrossGram {
  readonly layer: string;
  readonly size: number;
  /** Σ weight · x̂ xᵀ. */
  readonly cross: Float64Array;
  /** Σ weight · x̂ x̂ᵀ, symmetric. */
  readonly own: Float64Array;
  /** Σ weight · x̂ and Σ weight · x. */
  readonly ownMean: Float64Array;
  readonly originalMean: Float64Array;
  readonly positions: number;
  /** As for {@link GramStatistics.exact}. */
  readonly exact: boolean;
}

/** A layer input to cross; buckets are ignored. */
export interface CrossRequest extends GramRequest {
  /** Name of the value in the original, where it differs. */
  readonly original?: string;
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
            await pair.sum.add(part(a), part(b), weight);
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
    const key = JSON.stringify([r.value, r.original ?? r.value, r.axis, r.unfold]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [r]);
    else group.push(r);
  }
  return [...groups.values()].flatMap((group) => {
    const [request] = group;
    const dims = dimsOwn(request.value);
    const name = request.original ?? request.value;
    if (dims === null || dims.join() !== dimsOriginal(name)?.join()) return [];
    const { probe, size, exact } = gramProbe(request, dims, oversampling ?? 8, runs);
    const own = { ...probe, gram: false };
    return [
      {
        layers: group.map((r) => r.layer),
        own,
        original: { ...own, value: name },
        sum: crossSum(size, product),
        exact,
      },
    ];
  });
}

/** Sums pairs of rows, a buffer at a time. */
interface CrossSum {
  add(own: Float32Array, original: Float32Array, weight: number): Promise<void>;
  finish(): Promise<Omit<CrossGram, "layer" | "exact">>;
}

function crossSum(size: number, product: GramProduct): CrossSum {
  const capacity = bufferRows(size);
  const buffers = [new Float32Array(capacity * size), new Float32Array(capacity * size)] as const;
  const means = [new Float64Array(size), new Float64Array(size)] as const;
  const cross = new Float64Array(size * size);
  const own = new Float64Array(size * size);
  let filled = 0;
  let positions = 0;
  async function flush(): Promise<void> {
    if (filled === 0) return;
    const [a, b] = [buffers[0].subarray(0, filled * size), buffers[1].subarray(0, filled * size)];
    accumulate(cross, await product(filled, a, b), 1);
    accumulate(own, await product(filled, a, a), 1);
    filled = 0;
  }
  return {
    async add(mine, theirs, weight) {
      const root = Math.sqrt(weight);
      for (let from = 0; from < mine.length; from += size) {
        if (filled === capacity) await flush();
        const to = filled++ * size;
        for (const [i, rows] of [mine, theirs].entries()) {
          const buffer = buffers[i as 0 | 1];
          const mean = means[i as 0 | 1];
          for (let k = 0; k < size; k++) {
            const x = rows[from + k]!;
            mean[k]! += weight * x;
            buffer[to + k] = root * x;
          }
        }
      }
      positions += mine.length / size;
    },
    async finish() {
      await flush();
      const scale = positions === 0 ? 0 : 1 / positions;
      symmetrise(own, size, scale);
      const scaled = (v: Float64Array): Float64Array => v.map((x) => x * scale);
      return {
        size,
        cross: scaled(cross),
        own,
        ownMean: scaled(means[0]),
        originalMean: scaled(means[1]),
        positions,
      };
    },
  };
}
