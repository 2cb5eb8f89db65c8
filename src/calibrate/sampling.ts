import { isAbsolute } from "node:path";
import { Ajv, type ErrorObject } from "ajv";
import { fail } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import { nearestName } from "./nearest.ts";
import type { RoleNames } from "./roles.ts";

/** Numbers in nested lists, as JSON spells an array. */
export type NestedNumbers = number | readonly NestedNumbers[];

/** How a condition's part goes through one component of the pipeline. */
export interface ComponentCondition {
  /** Arrays by input name of the component. */
  readonly inputs: Readonly<Record<string, NestedNumbers>>;
  /** Text for the component's tokenizer; its ids become `input_ids`. */
  readonly prompt: string | null;
  /** Component output to denoiser input, where names and ranks do not say it. */
  readonly outputs: Readonly<Record<string, string>>;
}

/** One thing to condition on: a prompt, a class. */
export interface Condition {
  readonly name: string;
  /** Arrays by input name of the denoiser. */
  readonly inputs: Readonly<Record<string, NestedNumbers>>;
  readonly components: Readonly<Record<string, ComponentCondition>>;
}

/** How a pipeline is sampled: the content of `diffpress.json`, or its defaults. */
export interface SamplingDescription {
  readonly steps: number;
  /** Classifier-free guidance scale; 1 is none. */
  readonly guidance: number;
  /** Least and greatest value of a finished sample. */
  readonly sampleRange: readonly [number, number];
  /** Sampler id that replaces the scheduler's class, or `null`. */
  readonly sampler: string | null;
  readonly roles: RoleNames;
  readonly conditions: readonly Condition[];
  readonly unconditional: Condition | null;
  /** npz of conditions, relative to the pipeline, or `null`. */
  readonly conditionsFile: string | null;
}

/** What holds without a `diffpress.json`. */
export const DEFAULT_SAMPLING: SamplingDescription = {
  steps: 20,
  guidance: 1,
  sampleRange: [-1, 1],
  sampler: null,
  roles: {},
  conditions: [],
  unconditional: null,
  conditionsFile: null,
};

/** Most conditions; each is encoded once and kept. */
const MAX_CONDITIONS = 10_000;

const arrays = { type: "object", additionalProperties: { type: ["number", "array"] } };
const condition = {
  type: "object",
  properties: { name: { type: "string" }, inputs: arrays },
  additionalProperties: {
    type: "object",
    properties: {
      prompt: { type: "string", maxLength: 10_000 },
      outputs: { type: "object", additionalProperties: { type: "string" } },
    },
    additionalProperties: { type: ["number", "array"] },
  },
};
const properties = {
  $schema: { type: "string" },
  steps: { type: "integer", minimum: 1, maximum: 10_000 },
  guidance: { type: "number", minimum: 0 },
  sampleRange: { type: "array", items: { type: "number" }, minItems: 2, maxItems: 2 },
  sampler: { type: "string" },
  roles: {
    type: "object",
    properties: { sample: { type: "string" }, timestep: { type: "string" }, output: { type: "string" } },
    additionalProperties: false,
  },
  conditions: { type: "array", maxItems: MAX_CONDITIONS, items: condition },
  unconditional: condition,
  conditionsFile: { type: "string" },
};

/** JSON Schema of `diffpress.json`. */
const samplingSchema = { type: "object", properties, additionalProperties: false };

const validate = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true }).compile(samplingSchema);

function problem(e: ErrorObject): string {
  const where = e.instancePath === "" ? "the file" : e.instancePath.slice(1);
  const extra = e.params["additionalProperty"];
  if (typeof extra !== "string") return `${where} ${e.message}`;
  const near = nearestName(extra, Object.keys(properties));
  return `${where} has the unknown key "${extra}"${near === null ? "" : `, expected "${near}"`}`;
}

type RawComponent = Readonly<Record<string, Json>>;
type RawCondition = Readonly<Record<string, Json>>;

function componentCondition(raw: RawComponent): ComponentCondition {
  const { prompt, outputs, ...inputs } = raw;
  return {
    inputs: inputs as Record<string, NestedNumbers>,
    prompt: (prompt as string | undefined) ?? null,
    outputs: (outputs as Record<string, string> | undefined) ?? {},
  };
}

function readCondition(raw: RawCondition, fallback: string): Condition {
  const { name, inputs, ...components } = raw;
  return {
    name: (name as string | undefined) ?? fallback,
    inputs: (inputs as Record<string, NestedNumbers> | undefined) ?? {},
    components: Object.fromEntries(
      Object.entries(components).map(([k, v]) => [k, componentCondition(v as RawComponent)]),
    ),
  };
}

/** Checks and reads the content of a `diffpress.json`. Fails with CONFIG_INVALID. */
export function readSampling(raw: Json, file: string): SamplingDescription {
  if (!validate(raw)) fail("CONFIG_INVALID", { file, problems: (validate.errors ?? []).map(problem) });
  const d = raw as Readonly<Record<string, Json>>;
  const range = d["sampleRange"] as readonly [number, number] | undefined;
  if (range !== undefined && !(range[0] < range[1])) {
    fail("CONFIG_INVALID", { file, problems: ["sampleRange must be [low, high] with low < high"] });
  }
  const archive = d["conditionsFile"] as string | undefined;
  if (archive !== undefined && (isAbsolute(archive) || archive.split(/[/\\]/).includes(".."))) {
    fail("CONFIG_INVALID", { file, problems: ["conditionsFile must lie inside the pipeline folder"] });
  }
  const conditions = (d["conditions"] as readonly RawCondition[] | undefined) ?? [];
  const unconditional = d["unconditional"] as RawCondition | undefined;
  return {
    ...DEFAULT_SAMPLING,
    ...(d["steps"] !== undefined && { steps: d["steps"] as number }),
    ...(d["guidance"] !== undefined && { guidance: d["guidance"] as number }),
    ...(range !== undefined && { sampleRange: range }),
    ...(d["sampler"] !== undefined && { sampler: d["sampler"] as string }),
    ...(d["roles"] !== undefined && { roles: d["roles"] as RoleNames }),
    ...(archive !== undefined && { conditionsFile: archive }),
    conditions: conditions.map((c, i) => readCondition(c, `condition ${i}`)),
    unconditional: unconditional === undefined ? null : readCondition(unconditional, "unconditional"),
  };
}
