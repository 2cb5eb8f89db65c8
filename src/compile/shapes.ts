import type { ComponentKind } from "../calibrate/component.ts";
import { fail } from "../diagnostics/index.ts";
import type { Shape } from "../ir/types.ts";
import type { Bindings } from "../passes/pass.ts";

/** Both guidance halves run in one batch. */
const GUIDED_BATCH = 2;

/** A graph input as shape decisions see it. */
export interface InputInfo {
  readonly name: string;
  readonly shape: Shape;
}

/** What a plan knows of a component without its weights. */
export interface ComponentInfo {
  readonly name: string;
  readonly kind: ComponentKind;
  readonly denoiser: boolean;
  /** Names `--shape` takes for it: symbols, then `input.axis`. */
  readonly dims: readonly string[];
  readonly inputs: readonly InputInfo[];
  /** `sample_size` of the component's configuration: height and width of the sample. */
  readonly sampleSize: readonly [number, number] | null;
  /** Channels of the sample by the configuration. */
  readonly channels: number | null;
  /** Shapes the pipeline itself feeds, per input: reference inputs, conditions. */
  readonly fed: ReadonlyMap<string, readonly number[]>;
  /** Why the component overflows in fp16, by its own configuration. */
  readonly halfUnsafe?: string;
  /** Lengths of symbols that another component of the pipeline is fed: the sequence of the text encoder. */
  readonly symbols?: Bindings;
}

function lengthOf(c: ComponentInfo, input: InputInfo, axis: number): number | null {
  const shape = input.shape!;
  if (shape.length === 4 && axis >= 2 && c.sampleSize !== null) return c.sampleSize[axis - 2]!;
  if (shape.length === 4 && axis === 1 && c.channels !== null) return c.channels;
  if (axis === 0 && shape.length > 1) return GUIDED_BATCH;
  const fed = c.fed.get(input.name);
  if (fed !== undefined && fed.length === shape.length) return fed[axis]!;
  const shared = c.symbols?.[shape[axis]!];
  if (shared !== undefined) return shared;
  // A rank-1 input whose length is no batch of its own is one number for the whole batch: the timestep.
  return axis === 0 ? 1 : null;
}

/** Dims without a length after `given`, and the lengths static-shape targets take for the others. */
export function deduceBindings(
  component: ComponentInfo,
  given: Bindings,
): { readonly found: Record<string, number>; readonly missing: string[] } {
  const found: Record<string, number> = {};
  const missing: string[] = [];
  // Inputs of rank above 1 first: they say what the batch symbol is, which a rank-1 input may share.
  const ordered = [...component.inputs].sort((a, b) => (b.shape?.length ?? 0) - (a.shape?.length ?? 0));
  for (const input of ordered) {
    for (const [axis, dim] of (input.shape ?? []).entries()) {
      if (typeof dim === "number") continue;
      const place = `${input.name}.${axis}`;
      const named = component.dims.includes(dim);
      if (place in given || dim in given || dim in found) continue;
      // Lengths given for one axis bind its symbol everywhere.
      const twin = component.inputs
        .flatMap((i) => (i.shape ?? []).map((d, k) => (d === dim ? given[`${i.name}.${k}`] : undefined)))
        .find((n) => n !== undefined);
      if (named && twin !== undefined) continue;
      const length = lengthOf(component, input, axis);
      const key = named ? dim : place;
      if (length === null) {
        if (!missing.includes(key)) missing.push(key);
      } else found[key] = length;
    }
  }
  return { found, missing };
}

/**
 * Lengths for every dim a static-shape target still needs after `given`: `sample_size` and channels from the
 * component's configuration, batch 2, the rest from what the pipeline feeds. Errors: SHAPE_NEEDED with the dims to give.
 */
export function staticBindings(component: ComponentInfo, given: Bindings, target: string): Bindings {
  const { found, missing } = deduceBindings(component, given);
  if (missing.length > 0) fail("SHAPE_NEEDED", { component: component.name, target, dims: missing });
  return found;
}
