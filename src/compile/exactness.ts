import { fail } from "../diagnostics/index.ts";
import { type DType, DTYPES, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import { createRng, gaussian } from "../numeric/rng.ts";
import { f32ToF16 } from "../numeric/f16.ts";
import type { Bindings } from "../passes/pass.ts";
import type { Exactness } from "../report/types.ts";
import type { Runtime } from "../runtime/index.ts";
import { compareOnInputs } from "../verify/inputs.ts";
import { deduceBindings } from "./shapes.ts";
import type { SourceComponent } from "./source.ts";

/**
 * Largest output error over the output's largest magnitude that counts as float rounding: reordered fp32 sums over a
 * few thousand layers stay two orders below it, and a wrong rewrite is far above.
 */
export const EXACT_LIMIT = 1e-4;

/** Length for dims that nothing says anything about. */
const PLAIN_LENGTH = 8;

/** Values that are legal for most integer inputs: tokens, labels and timesteps alike. */
function integers(count: number, bits: number): Uint8Array {
  const bytes = new Uint8Array((count * bits) / 8);
  for (let i = 0; i < count; i++) bytes[(i * bits) / 8] = i % 3;
  return bytes;
}

function seeded(name: string, dtype: DType, dims: readonly number[], seed: number): Dense | null {
  const count = elementCount(dims);
  const { kind, bits } = DTYPES[dtype];
  if (kind === "int" || kind === "uint")
    return bits < 8 ? null : { dtype, dims, bytes: integers(count, bits) };
  if (kind === "bool") return { dtype, dims, bytes: new Uint8Array(count).fill(1) };
  const values = gaussian(createRng(seed, "exactness", name), count);
  if (dtype === "f32") return { dtype, dims, bytes: new Uint8Array(values.buffer) };
  if (dtype === "f16") return { dtype, dims, bytes: new Uint8Array(f32ToF16(values).buffer) };
  if (dtype === "f64") return { dtype, dims, bytes: new Uint8Array(Float64Array.from(values).buffer) };
  return null;
}

/** Seeded inputs of the component at the given lengths; `null` when one has a type we cannot make up. */
export function seededFeeds(
  component: SourceComponent,
  bindings: Bindings,
  seed: number,
): Map<string, Dense> | null {
  const { graph } = component.model;
  const { found } = deduceBindings(component.info, bindings);
  const lengths = { ...found, ...bindings };
  // A length given for one axis holds for its symbol everywhere.
  for (const id of graph.inputs) {
    const { type, name } = graph.value(id);
    if (type?.kind !== "tensor") continue;
    for (const [axis, dim] of (type.shape ?? []).entries()) {
      const given = bindings[`${name}.${axis}`];
      if (given !== undefined && typeof dim === "string") lengths[dim] = given;
    }
  }
  const feeds = new Map<string, Dense>();
  for (const id of graph.inputs) {
    const { type, name, init } = graph.value(id);
    if (init !== null) continue;
    if (type?.kind !== "tensor" || type.shape === null) return null;
    const dims = type.shape.map((d, axis) =>
      typeof d === "number" ? d : (lengths[`${name}.${axis}`] ?? lengths[d] ?? PLAIN_LENGTH),
    );
    const feed = seeded(name, type.dtype, dims, seed);
    if (feed === null) return null;
    feeds.set(name, feed);
  }
  return feeds;
}

/** What {@link proveExact} compares and where it is in the build. */
export interface ExactnessCheck {
  readonly runtime: Runtime;
  readonly component: SourceComponent;
  readonly target: string;
  /** The model after exact passes only. */
  readonly exact: Model;
  readonly feeds: readonly ReadonlyMap<string, Dense>[];
  readonly inputs: Exactness["inputs"];
}

/** Runs the original and the model after exact passes on the same inputs. Errors: EXACT_DIFFERS. */
export async function proveExact(check: ExactnessCheck): Promise<Exactness> {
  const { runtime, component, target } = check;
  // Unoptimised on both sides: the check is about our rewrites, not about the runtime's.
  const before = await runtime.openSession(component.path, { optimize: "disable" });
  try {
    const after = await runtime.openSession(check.exact, { optimize: "disable" });
    try {
      const { outputs, maxRel } = await compareOnInputs(before, after, check.feeds);
      const worst = outputs.find((o) => !(o.maxRel <= EXACT_LIMIT));
      if (worst !== undefined)
        fail("EXACT_DIFFERS", {
          component: component.info.name,
          target,
          output: worst.name,
          error: worst.maxRel,
          limit: EXACT_LIMIT,
        });
      return { component: component.info.name, error: maxRel, limit: EXACT_LIMIT, inputs: check.inputs };
    } finally {
      await after.release();
    }
  } finally {
    await before.release();
  }
}
