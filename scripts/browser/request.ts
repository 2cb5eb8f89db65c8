import type { ConditionSet } from "../../src/calibrate/conditions.ts";
import type { RoleNames } from "../../src/calibrate/roles.ts";
import type { ScheduleOverrides } from "../../src/calibrate/schedulers/index.ts";
import type { DType } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Json } from "../../src/ir/tensor.ts";

/** A dense array as JSON. */
export interface SentArray {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: readonly number[];
}

interface SentCondition {
  readonly name: string;
  readonly inputs: readonly (readonly [string, SentArray])[];
}

/** What the page is asked to sample; everything it needs beside the model. */
export interface SampleRequest {
  /** Address of the model. */
  readonly model: string;
  readonly provider: "wasm" | "webgpu";
  readonly roles: RoleNames;
  readonly schedule: {
    readonly config: Readonly<Record<string, Json>>;
    readonly sampler: ScheduleOverrides["sampler"] | null;
  };
  readonly guidance: number;
  readonly seeds: number;
  readonly steps: number;
  readonly shape: readonly number[];
  readonly conditions: readonly SentCondition[];
  readonly unconditional: SentCondition | null;
}

/** What the page sends back. */
export interface SampleAnswer {
  /** `[seeds, ...shape]`. */
  readonly samples: readonly number[];
  readonly seconds: number;
}

const sent = (d: Dense): SentArray => ({ dtype: d.dtype, dims: d.dims, bytes: [...d.bytes] });
const received = (a: SentArray): Dense => ({ dtype: a.dtype, dims: a.dims, bytes: Uint8Array.from(a.bytes) });

/** Conditions as JSON. */
export function sendConditions(set: ConditionSet): Pick<SampleRequest, "conditions" | "unconditional"> {
  const one = (c: ConditionSet["conditions"][number]): SentCondition => ({
    name: c.name,
    inputs: [...c.inputs].map(([name, d]) => [name, sent(d)] as const),
  });
  return {
    conditions: set.conditions.map(one),
    unconditional: set.unconditional === null ? null : one(set.unconditional),
  };
}

/** Conditions from JSON. */
export function receiveConditions(request: SampleRequest): ConditionSet {
  const one = (c: SentCondition): ConditionSet["conditions"][number] => ({
    name: c.name,
    inputs: new Map(c.inputs.map(([name, a]) => [name, received(a)])),
  });
  return {
    conditions: request.conditions.map(one),
    unconditional: request.unconditional === null ? null : one(request.unconditional),
    source: "description",
  };
}
