import { Ajv } from "ajv";
import type { TeacherSettings } from "./teacher.ts";
import type { CalibrationCall, Unfold } from "./types.ts";

/** What the header of an artifact says; version 1. */
export interface ArtifactHeader {
  readonly format: "diffpress-statistics";
  readonly version: 1;
  readonly source: string;
  readonly settings: TeacherSettings;
  readonly calls: readonly CalibrationCall[];
  readonly values: readonly {
    readonly name: string;
    readonly axis: number | null;
    readonly channels: number;
    readonly count: number;
    readonly rows: number;
  }[];
  readonly grams: readonly {
    readonly layer: string;
    readonly value: string;
    readonly axis: number;
    readonly unfold: Unfold | null;
    /** Arrays `gN.sum` and `gN.mean`; layers may share them. */
    readonly data: number;
    readonly size: number;
    readonly positions: number;
    readonly rank: number;
    readonly exact: boolean;
  }[];
  /** Over everything else in the file. */
  readonly sha256: string;
}

const count = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const size = { type: "integer", minimum: 1, maximum: 1 << 24 };
const number = { type: "number" };
const text = { type: "string" };
const hash = { type: "string", pattern: "^[0-9a-f]{64}$" };
const axis = { type: "integer", minimum: -16, maximum: 16 };
const list = (items: object, maxItems: number) => ({ type: "array", maxItems, items });
const fixed = (items: object, length: number) => ({
  type: "array",
  minItems: length,
  maxItems: length,
  items,
});
const object = (properties: Record<string, object>) => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});
const small = { type: "integer", minimum: 0, maximum: 65536 };

const validate = new Ajv({ strict: true, allowUnionTypes: true, strictTypes: false }).compile(
  object({
    format: { const: "diffpress-statistics" },
    version: { const: 1 },
    source: hash,
    settings: object({
      sampler: text,
      steps: count,
      guidance: number,
      samples: count,
      batch: count,
      seed: count,
      jitter: number,
      shape: list(size, 16),
      timesteps: { anyOf: [text, list(number, 100_000)] },
      weights: text,
    }),
    calls: list(object({ timestep: number, weight: { type: "number", minimum: 0 } }), 100_000),
    values: list(
      object({ name: text, axis: { anyOf: [axis, { type: "null" }] }, channels: size, count, rows: small }),
      100_000,
    ),
    grams: list(
      object({
        layer: text,
        value: text,
        axis,
        unfold: {
          anyOf: [
            { type: "null" },
            object({
              kernel: fixed(small, 2),
              strides: fixed(small, 2),
              pads: fixed(small, 4),
              dilations: fixed(small, 2),
            }),
          ],
        },
        data: count,
        size: { type: "integer", minimum: 1, maximum: 32768 },
        positions: count,
        rank: count,
        exact: { type: "boolean" },
      }),
      100_000,
    ),
    sha256: hash,
  }),
);

/** What is wrong with a parsed header, or `null`. */
export function headerProblem(header: unknown): string | null {
  if (validate(header)) return null;
  const e = validate.errors?.[0];
  return `the header is not one of version 1: ${e?.instancePath || "the top level"} ${e?.message ?? "is not valid"}`;
}
