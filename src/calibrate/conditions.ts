import { resolve } from "node:path";
import { fail } from "../diagnostics/index.ts";
import { isFloat } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { createRng, gaussian } from "../numeric/rng.ts";
import type { Runtime } from "../runtime/index.ts";
import { fitted, portArray } from "./arrays.ts";
import { denseFrom, rows } from "./dense.ts";
import { componentEncoder } from "./encode.ts";
import { type Npz, readNpz } from "./npz.ts";
import type { Pipeline } from "./pipeline.ts";
import type { ConditionRole, InputRoles } from "./roles.ts";
import type { Condition } from "./sampling.ts";

/** A condition as the denoiser takes it: one row of each batched input, other inputs whole. */
export interface EncodedCondition {
  readonly name: string;
  readonly inputs: ReadonlyMap<string, Dense>;
}

/** Conditions of a pipeline ready to sample. */
export interface ConditionSet {
  readonly conditions: readonly EncodedCondition[];
  readonly unconditional: EncodedCondition | null;
  /** `synthetic`: seeded noise that only exercises the model; figures from it say nothing about quality. */
  readonly source: "description" | "npz" | "synthetic" | "none";
}

function complete(name: string, inputs: Map<string, Dense>, roles: InputRoles): EncodedCondition {
  for (const role of roles.conditions) {
    if (inputs.has(role.name) || role.guidance) continue;
    fail("CONDITION_INPUT_MISSING", { condition: name, input: role.name, given: [...inputs.keys()] });
  }
  return { name, inputs };
}

/** Prefix of the arrays of the unconditional half in an npz of conditions. */
const UNCONDITIONAL = "unconditional.";

/**
 * Conditions from an npz: each array is named after a denoiser input and its first axis counts conditions;
 * `unconditional.NAME` holds one row. Unbatched inputs are whole arrays. Fails with CONDITION_INPUT_MISSING or
 * CONDITION_VALUE_INVALID.
 */
export function conditionsFromNpz(arrays: Npz, roles: InputRoles): ConditionSet {
  const counted = (role: ConditionRole, d: Dense): boolean =>
    role.batched && d.dims.length === role.shape.length && d.dims[0]! > 0;
  let count = 1;
  for (const role of roles.conditions) {
    const d = arrays.get(role.name);
    if (d !== undefined && counted(role, d)) count = Math.max(count, d.dims[0]!);
  }
  const pick = (name: string, prefix: string, index: number): EncodedCondition => {
    const inputs = new Map<string, Dense>();
    for (const role of roles.conditions) {
      const d = arrays.get(prefix + role.name) ?? arrays.get(role.name);
      if (d === undefined) continue;
      const row = counted(role, d) ? Math.min(index, d.dims[0]! - 1) : null;
      inputs.set(role.name, fitted(name, role, row === null ? d : rows(d, row, row + 1)));
    }
    return complete(name, inputs, roles);
  };
  const guided = [...arrays.keys()].some((k) => k.startsWith(UNCONDITIONAL));
  return {
    conditions: Array.from({ length: count }, (_, i) => pick(`condition ${i}`, "", i)),
    unconditional: guided ? pick("unconditional", UNCONDITIONAL, 0) : null,
    source: "npz",
  };
}

/** Seeded stand-ins: standard normal for floats, 0 for labels; open dims take `bindings`, else 77 (a prompt's length). */
export function syntheticConditions(
  roles: InputRoles,
  options: {
    readonly seed: number;
    readonly count: number;
    readonly bindings?: Readonly<Record<string, number>>;
  },
): ConditionSet {
  const make = (role: ConditionRole, index: number): Dense => {
    const dims = role.shape.map((d, k) => {
      if (k === 0 && role.batched) return 1;
      return typeof d === "number"
        ? d
        : (options.bindings?.[`${role.name}.${k}`] ?? options.bindings?.[d] ?? 77);
    });
    const size = dims.reduce((a, b) => a * b, 1);
    const rng = createRng(options.seed, "synthetic condition", role.name, index);
    return denseFrom(role.dtype, dims, isFloat(role.dtype) ? gaussian(rng, size) : new Float64Array(size));
  };
  const one = (name: string, index: number): EncodedCondition => ({
    name,
    inputs: new Map(roles.conditions.filter((r) => !r.guidance).map((r) => [r.name, make(r, index)])),
  });
  return {
    conditions: Array.from({ length: options.count }, (_, i) => one(`synthetic ${i}`, i)),
    unconditional: one("synthetic unconditional", options.count),
    source: "synthetic",
  };
}

export interface ResolveOptions {
  /** Path of an npz that replaces the pipeline's own conditions. */
  readonly file?: string;
  /** Stand-ins when the pipeline describes no conditions and the denoiser needs some; default `null`: fail. */
  readonly synthetic?: { readonly seed: number; readonly count: number } | null;
  readonly bindings?: Readonly<Record<string, number>>;
}

/**
 * The conditions of a pipeline for a denoiser: from an npz, from `diffpress.json` by denoiser input or through the
 * pipeline's own components (run in `runtime`), or none when the denoiser takes none. Fails with the CONDITION_* and
 * TOKENIZER_* codes.
 */
export async function resolveConditions(
  pipeline: Pipeline,
  runtime: Runtime,
  roles: InputRoles,
  options: ResolveOptions = {},
): Promise<ConditionSet> {
  const file = options.file ?? pipeline.sampling.conditionsFile;
  if (file !== null) return conditionsFromNpz(await readNpz(resolve(pipeline.dir, file)), roles);
  const { conditions, unconditional } = pipeline.sampling;
  if (conditions.length === 0) {
    const open = roles.conditions.filter((r) => !r.guidance);
    if (open.length === 0) {
      return { conditions: [{ name: "none", inputs: new Map() }], unconditional: null, source: "none" };
    }
    if (options.synthetic) {
      const bindings = options.bindings === undefined ? {} : { bindings: options.bindings };
      return syntheticConditions(roles, { ...options.synthetic, ...bindings });
    }
  }
  const encoder = componentEncoder(pipeline, runtime, roles);
  try {
    const encode = async (c: Condition): Promise<EncodedCondition> => {
      const inputs = new Map<string, Dense>(await encoder.encode(c));
      for (const [name, value] of Object.entries(c.inputs)) {
        const role = roles.conditions.find((r) => r.name === name);
        if (role === undefined) {
          fail("CONDITION_NOT_CONNECTED", {
            condition: c.name,
            component: "the description",
            outputs: [name],
            inputs: roles.conditions.map((r) => r.name),
          });
        }
        inputs.set(name, portArray(c.name, role, value));
      }
      return complete(c.name, inputs, roles);
    };
    const empty: Condition = { name: "none", inputs: {}, components: {} };
    const encoded: EncodedCondition[] = [];
    for (const c of conditions.length === 0 ? [empty] : conditions) encoded.push(await encode(c));
    return {
      conditions: encoded,
      unconditional: unconditional === null ? null : await encode(unconditional),
      source: "description",
    };
  } finally {
    await encoder.close();
  }
}
