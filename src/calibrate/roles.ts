import { fail } from "../diagnostics/index.ts";
import { DTYPES, isFloat } from "../ir/dtype.ts";
import type { Dim } from "../ir/types.ts";
import type { PortType } from "../runtime/index.ts";

/** How a denoiser takes its time: once per run, or once per sample of the batch. */
export type TimeLayout = "scalar" | "one" | "batch";

/** One further input: an embedding, a label, an added condition. */
export interface ConditionRole extends PortType {
  /** Its first axis is the batch. Otherwise one array serves the whole batch. */
  readonly batched: boolean;
  /** Fed with the guidance scale when the conditions say nothing (guidance-distilled models). */
  readonly guidance: boolean;
}

/** What each input of a denoiser is, and its output. Found by name, dtype and shape, here and nowhere else. */
export interface InputRoles {
  readonly sample: PortType;
  readonly timestep: PortType & { readonly layout: TimeLayout };
  readonly conditions: readonly ConditionRole[];
  readonly output: PortType;
  /** The one batch size the model takes, or `null` when it takes any. */
  readonly fixedBatch: number | null;
}

/** Names that override the search. */
export interface RoleNames {
  readonly sample?: string;
  readonly timestep?: string;
  readonly output?: string;
}

const SAMPLE_NAMES = [
  "sample",
  "hidden_states",
  "latent_model_input",
  "noisy_latents",
  "latents",
  "latent",
  "x",
  "image",
];
const TIME_NAMES = ["timestep", "timesteps", "t", "time", "time_step", "sigma", "noise_level"];
const GUIDANCE_NAMES = ["guidance", "guidance_scale"];

function byName<T extends PortType>(ports: readonly T[], names: readonly string[]): T | undefined {
  for (const name of names) {
    const found = ports.find((p) => p.name.toLowerCase() === name);
    if (found !== undefined) return found;
  }
  return undefined;
}

const isNumber = (p: PortType): boolean => p.dtype !== "string" && DTYPES[p.dtype].kind !== "complex";
const label = (p: PortType): string => `${p.name} ${p.dtype}[${p.shape.join(", ")}]`;

/**
 * Assigns roles to the inputs of a denoiser. The sample is known by name, else it is the only float input of rank 3 or
 * more whose rank and channel count the output shares; the time by name, else the only input of rank at most 1. Fails
 * with DENOISER_ROLE_UNKNOWN.
 */
export function inputRoles(
  inputs: readonly PortType[],
  outputs: readonly PortType[],
  names: RoleNames = {},
): InputRoles {
  const unknown = (role: string): never => fail("DENOISER_ROLE_UNKNOWN", { role, inputs: inputs.map(label) });
  const given = <T extends PortType>(
    ports: readonly T[],
    name: string | undefined,
    role: string,
  ): T | undefined =>
    name === undefined ? undefined : (ports.find((p) => p.name === name) ?? unknown(`${role} "${name}"`));

  const output =
    given(outputs, names.output, "output") ??
    byName(outputs, ["out_sample", "sample", "noise_pred", "output"]) ??
    outputs.find((o) => isFloat(o.dtype)) ??
    unknown("output");
  const large = inputs.filter((p) => isFloat(p.dtype) && p.shape.length >= 3);
  const alike = large.filter((p) => p.shape.length === output.shape.length);
  const sample: PortType =
    given(inputs, names.sample, "sample") ??
    byName(large, SAMPLE_NAMES) ??
    (alike.length === 1 ? alike[0] : undefined) ??
    unknown("sample");
  const small = inputs.filter((p) => p.name !== sample.name && p.shape.length <= 1 && isNumber(p));
  const timestep =
    given(inputs, names.timestep, "timestep") ??
    byName(small, TIME_NAMES) ??
    (small.length === 1 ? small[0] : undefined) ??
    unknown("timestep");

  const batch = sample.shape[0];
  const sameBatch = (d: Dim | undefined): boolean => d !== undefined && d === batch;
  const layout: TimeLayout =
    timestep.shape.length === 0
      ? "scalar"
      : sameBatch(timestep.shape[0]) && timestep.shape[0] !== 1
        ? "batch"
        : "one";
  const conditions = inputs
    .filter((p) => p.name !== sample.name && p.name !== timestep.name)
    .map((p) => ({
      ...p,
      // An unnamed first dim ("?") is the batch: exporters leave it unnamed when they leave all unnamed.
      batched: sameBatch(p.shape[0]) || p.shape[0] === "?",
      guidance: GUIDANCE_NAMES.includes(p.name.toLowerCase()) && p.shape.length <= 1,
    }));
  return {
    sample,
    timestep: { ...timestep, layout },
    conditions,
    output,
    fixedBatch: typeof batch === "number" ? batch : null,
  };
}

/** Sizes a component's `config.json` declares, where it does. */
export interface DeclaredSizes {
  readonly channels: number | null;
  readonly height: number | null;
  readonly width: number | null;
}

/**
 * Size of one sample without the batch axis, `[channels, height, width]` for images: fixed dims of the model, then
 * `bindings` (symbolic dim or `input.axis` to length), then the declared sizes. Fails with SAMPLE_SHAPE_UNKNOWN.
 */
export function sampleShape(
  sample: PortType,
  declared: DeclaredSizes,
  bindings: Readonly<Record<string, number>> = {},
): readonly number[] {
  const rank = sample.shape.length;
  const missing: string[] = [];
  const dims = sample.shape.slice(1).map((d, k) => {
    const axis = k + 1;
    if (typeof d === "number") return d;
    const fallback =
      rank < 4
        ? null
        : axis === 1
          ? declared.channels
          : axis === rank - 2
            ? declared.height
            : axis === rank - 1
              ? declared.width
              : null;
    const length = bindings[`${sample.name}.${axis}`] ?? bindings[d] ?? fallback;
    if (length === null || !Number.isSafeInteger(length) || length < 1)
      missing.push(d === "?" ? `${sample.name}.${axis}` : d);
    return length ?? 0;
  });
  if (missing.length > 0) {
    fail("SAMPLE_SHAPE_UNKNOWN", { input: sample.name, shape: `[${sample.shape.join(", ")}]`, missing });
  }
  return dims;
}
