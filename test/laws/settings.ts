import type { Json } from "../../src/ir/tensor.ts";
import { passes } from "../../src/passes/index.ts";
import type { Pass } from "../../src/passes/pass.ts";
import { targets } from "../../src/targets/index.ts";
import type { Target } from "../../src/targets/target.ts";
import { defaultOptions, type Subject } from "./subject.ts";

/** One way a pass is run over every fixture. */
export interface Setting {
  readonly label: string;
  readonly pass: Pass;
  readonly target: Target | null;
  /** The setting that also runs on large subjects: defaults, for the first target where the pass asks one. */
  readonly primary: boolean;
  options(subject: Subject): Json;
  /** Options of the second run, where those of the first name what is no longer there. */
  again?(subject: Subject): Json;
  /** Why the result cannot be run here; the laws that need no outputs still hold. */
  readonly notRun?: string;
}

/** Options for passes that do nothing by default on models this small. */
const EXERCISES: Readonly<Record<string, (subject: Subject) => Readonly<Record<string, Json>>>> = {
  "specialise-shapes": (subject) => ({ dims: subject.fixture.dims }),
  "dedupe-weights": () => ({ minBytes: 1 }),
  "freeze-time": () => ({ timesteps: Array.from({ length: 1000 }, (_, t) => t), always: true }),
  "quantize-dynamic": () => ({ minElements: 1, minRows: 1, guards: false }),
  ...Object.fromEntries(
    ["prune-heads", "prune-ffn", "prune-channels", "prune-structures"].map((name) => [
      name,
      () => ({ align: 1, ratio: 0.05 }),
    ]),
  ),
};

/** Results the pinned runtime has no kernels for, by pass and option value. */
const NOT_RUN: Readonly<Record<string, string>> = {
  "convert-float, to bf16": "onnxruntime's CPU provider has no bfloat16 convolution or matrix product",
};

/** Every value of every enumerated option, one at a time, the other options at their defaults. */
function variants(pass: Pass): { label: string; change: Readonly<Record<string, Json>> }[] {
  const properties = (pass.options["properties"] ?? {}) as Readonly<
    Record<string, { readonly enum?: readonly Json[]; readonly default?: Json }>
  >;
  return Object.entries(properties).flatMap(([name, schema]) =>
    (schema.enum ?? [])
      .filter((value) => value !== null && value !== schema.default)
      .map((value) => ({ label: `${name} ${String(value)}`, change: { [name]: value } })),
  );
}

/** What passes can see of a target; targets that agree in it are one to them. */
function seen({ opset, shapes, formats, compute, spelling, integer, half, align }: Target): string {
  return JSON.stringify([opset, shapes, formats, compute, spelling, integer, half, align], (key, value) =>
    key === "note" || key === "why" ? undefined : value,
  );
}

/** The first of all targets that look the same to passes. */
const DISTINCT: readonly Target[] = [
  ...new Map([...targets].reverse().map((t) => [seen(t), t])).values(),
].reverse();

function settingsOf(pass: Pass): Setting[] {
  const base = defaultOptions(pass) as Readonly<Record<string, Json>>;
  const asks = ["legalise", "convert", "quantize", "factorize"].includes(pass.family);
  const exercise = EXERCISES[pass.name];
  const plain = { pass, target: null, options: () => base };
  const found: Setting[] = [{ ...plain, label: pass.name, primary: !asks && exercise === undefined }];
  for (const variant of variants(pass)) {
    const label = `${pass.name}, ${variant.label}`;
    const notRun = NOT_RUN[label];
    found.push({
      ...plain,
      label,
      primary: false,
      options: () => ({ ...base, ...variant.change }),
      ...(notRun !== undefined && { notRun }),
    });
  }
  if (exercise !== undefined)
    found.push({
      ...plain,
      label: `${pass.name}, exercised`,
      target: asks ? (targets[0] ?? null) : null,
      primary: true,
      options: (subject) => ({ ...base, ...exercise(subject) }),
      ...(pass.name === "specialise-shapes" && { again: () => base }),
    });
  // Only these families ask the target; the others must not, which the architecture test sees to.
  for (const [i, target] of asks ? DISTINCT.entries() : [])
    found.push({ ...plain, label: `${pass.name} for ${target.id}`, target, primary: i === 0 });
  return found;
}

/** Every pass with its defaults, with each value of its enumerated options, and for every target where that matters. */
export const settings: readonly Setting[] = passes.flatMap(settingsOf);
