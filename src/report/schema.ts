import type { Json } from "../ir/tensor.ts";

/** A JSON Schema, or part of one. */
export type Schema = { readonly [key: string]: Json };

const string: Schema = { type: "string" };
const number: Schema = { type: "number" };
const count: Schema = { type: "integer", minimum: 0 };
const boolean: Schema = { type: "boolean" };
const sha256: Schema = { type: "string", pattern: "^[0-9a-f]{64}$" };

/** An object of exactly these keys; those of `optional` may be missing. */
export function object(required: Record<string, Json>, optional: Record<string, Json> = {}): Schema {
  return {
    type: "object",
    additionalProperties: false,
    required: Object.keys(required),
    properties: { ...required, ...optional },
  };
}
/** A list of such items. */
export function list(items: Json): Schema {
  return { type: "array", items };
}
function nullable(schema: Json): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

const change = object({ before: number, after: number });
const figure = object({ median: number, p10: number, low: number, high: number });

const decisionKeys = {
  required: {
    node: string,
    kind: { type: "string", enum: ["applied", "skipped", "downgraded", "forced"] },
    rule: string,
  },
  optional: {
    why: string,
    from: string,
    to: string,
    count,
    bytesBefore: count,
    bytesAfter: count,
    error: object(
      { metric: { type: "string", enum: ["mse", "sqnr-db", "max-abs"] }, value: number },
      { heldOut: number },
    ),
  },
} as const;
const decision = object(decisionKeys.required, decisionKeys.optional);
const downgrade = object(
  { component: string, pass: string, ...decisionKeys.required },
  decisionKeys.optional,
);

const pass = object({
  component: string,
  name: string,
  seconds: { type: "number", minimum: 0 },
  peakBytes: count,
  nodesBefore: count,
  nodesAfter: count,
  bytesBefore: count,
  bytesAfter: count,
  changed: boolean,
  decisions: list({ $ref: "#/$defs/decision" }),
});

const component = object({
  name: string,
  file: string,
  bytes: change,
  nodes: change,
  flops: nullable(change),
  shape: { type: "object", additionalProperties: count },
  estimate: nullable(
    object({
      seconds: number,
      machine: string,
      basis: string,
      bounds: object({ arithmetic: number, memory: number, overhead: number }),
      bytes: number,
      flops: { type: "object", additionalProperties: number },
      slowest: list(
        object({
          node: string,
          op: string,
          seconds: number,
          bound: { type: "string", enum: ["arithmetic", "memory", "overhead"] },
          bytes: number,
          flops: number,
          dtype: nullable(string),
        }),
      ),
    }),
  ),
  fidelity: nullable(
    object({
      inputs: { type: "string", enum: ["conditions", "latents", "seeded"] },
      sets: count,
      outputs: list(object({ name: string, maxAbs: number, maxRel: number, sqnr: number })),
      sqnr: number,
    }),
  ),
  split: nullable(
    object({
      wanted: number,
      per: { type: "string", enum: ["bytes", "flops", "latency"] },
      basis: nullable(string),
      met: { type: "boolean" },
      chosen: count,
      builds: list(
        object({
          options: { type: "object", additionalProperties: { type: ["object", "null"] } },
          size: number,
          predicted: nullable(number),
          measured: number,
        }),
      ),
    }),
  ),
});

const fidelity = object({
  sampler: string,
  steps: count,
  guidance: number,
  seeds: count,
  conditions: string,
  timesteps: list(number),
  sqnr: list(number),
  sqnrMean: number,
  sqnrInterval: { type: "array", items: number, minItems: 2, maxItems: 2 },
  sqnrWorst: number,
  lossless: boolean,
  psnr: figure,
  ssim: figure,
  conditioning: nullable(object({ sqnr: list(number), follows: boolean })),
  noiseFloor: number,
});

const target = object({
  title: string,
  provider: object({ name: string, options: { type: "object" } }),
  bytes: change,
  flops: nullable(change),
  latency: nullable(object({ before: number, after: number, threads: count, runs: count })),
  fidelity: nullable({ $ref: "#/$defs/fidelity" }),
  exactness: list(
    object({
      component: string,
      error: number,
      limit: number,
      inputs: { type: "string", enum: ["reference", "seeded"] },
    }),
  ),
  components: list(component),
  passes: list({ $ref: "#/$defs/pass" }),
  downgrades: list({ $ref: "#/$defs/downgrade" }),
  leavesAccelerator: nullable(list(object({ component: string, node: string, op: string, why: string }))),
  checks: list(
    object({
      component: string,
      graph: nullable(string),
      findings: list(
        object({
          rule: string,
          severity: { type: "string", enum: ["reject", "slow", "numeric"] },
          why: string,
          nodes: list(string),
        }),
      ),
      verdicts: object({ quantized: count, float: count, leaves: count }),
      partitions: count,
      flopsShare: nullable(number),
    }),
  ),
  notes: list(string),
});

/** The JSON Schema (draft 2020-12) of `report.json`. */
export function reportSchema(): Schema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $id: "urn:diffpress:report:1",
    title: "diffpress report",
    description: "What a build did to each target, what it cost in fidelity, and which budgets it met.",
    ...object({
      schema: { const: 1 },
      diffpress: string,
      onnxruntime: string,
      input: object({ name: string, sha256, bytes: count }),
      recipe: object({ sha256 }),
      seed: count,
      seconds: { type: "number", minimum: 0 },
      peakBytes: count,
      targets: { type: "object", additionalProperties: { $ref: "#/$defs/target" } },
      budgets: list(
        object({
          name: string,
          target: string,
          limit: number,
          value: number,
          interval: nullable(object({ low: number, high: number })),
          met: boolean,
        }),
      ),
      diagnostics: list(
        object({
          code: string,
          severity: { type: "string", enum: ["error", "warning", "note"] },
          message: string,
          details: { type: "object" },
        }),
      ),
    }),
    $defs: { decision, downgrade, pass, fidelity, target },
  };
}
