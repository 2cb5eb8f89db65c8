import type { Json } from "../../ir/tensor.ts";
import { passes, passGroups } from "../../passes/index.ts";
import type { JsonSchema } from "../../passes/pass.ts";
import { target, targetNames } from "../../targets/index.ts";
import { COMPONENT_KINDS } from "./components.ts";

/** Identity of the schema; not an address anything is fetched from. */
const SCHEMA_ID = "urn:diffpress:recipe:1";

function object(properties: Record<string, Json>, more: Record<string, Json> = {}): JsonSchema {
  return { type: "object", additionalProperties: false, properties, ...more };
}

const bindings: JsonSchema = {
  type: "object",
  description: "Length per symbolic dim as `inspect` lists them, or per `input.axis`.",
  additionalProperties: { type: "integer", minimum: 1, maximum: 1048576 },
};

const sampling = (description: string, more: Record<string, Json> = {}): JsonSchema =>
  object(
    {
      sampler: {
        type: "string",
        description: "Scheduler name (ddim, euler, dpm++2m …); the pipeline's own unless said.",
      },
      steps: { type: "integer", minimum: 1, maximum: 1000, description: "Denoising steps." },
      guidance: { type: "number", minimum: 0, maximum: 100, description: "Classifier-free guidance scale." },
      samples: { type: "integer", minimum: 1, maximum: 4096, description: "How many seeds." },
      ...more,
    },
    { description },
  );

/** Which calls of the calibration trajectory count, and how much. */
const choices: Record<string, Json> = {
  timesteps: {
    description:
      "Calls statistics are taken at: `uniform` all of them, `normal` drawn around 0.4 T, `measured` drawn by step sensitivity, or a list of timesteps.",
    anyOf: [
      { type: "string", enum: ["uniform", "normal", "measured"] },
      { type: "array", minItems: 1, maxItems: 1000, items: { type: "number", minimum: 0 } },
    ],
  },
  weights: {
    type: "string",
    enum: ["uniform", "measured"],
    description: "What calls weigh: the same, or their measured share in the error of the final sample.",
  },
  jitter: {
    type: "number",
    minimum: 0,
    maximum: 1,
    description:
      "Share of the distance to neighbouring timesteps by which they are moved, for inputs of few directions.",
  },
  heldOut: {
    type: "integer",
    minimum: 0,
    maximum: 64,
    description:
      "Trajectories of other seeds, at other timesteps, on which the error of every closed-form fit is reported beside the predicted one; 1 unless said, 0 for none.",
  },
  rows: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    description: "Positions kept per call of every value a pass wants some of.",
  },
  artifact: {
    type: "string",
    minLength: 1,
    description:
      "File of `diffpress calibrate` to take statistics from; refused when it is of another input or trajectory.",
  },
};

/** Options of a stage, or `null` to skip it. */
function stage(schema: JsonSchema): Json {
  const { type: _type, ...rest } = schema;
  return { additionalProperties: false, properties: {}, ...rest, type: ["object", "null"] };
}

function stages(): Record<string, Json> {
  const out: Record<string, Json> = {};
  for (const [name, members] of Object.entries(passGroups))
    out[name] = {
      type: ["object", "null"],
      description: `All of: ${members.join(", ")}.`,
      additionalProperties: false,
      properties: {},
    };
  for (const pass of passes)
    out[pass.name] = { ...(stage(pass.options) as JsonSchema), description: pass.summary };
  return out;
}

/** One error budget over several passes; few levels, since all their combinations are weighed. */
function splitSchema(known: Record<string, Json>): JsonSchema {
  const levels = passes
    .filter((p) => p.effect === "lossy")
    .map((p) => {
      const options = { ...(known[p.name] as { [key: string]: Json }), type: "object" };
      return [p.name, { type: "array", minItems: 1, maxItems: 8, items: options }] as const;
    });
  return {
    type: ["object", "null"],
    description:
      "One error budget for several passes of the list: every level is measured alone, then the smallest build of their combinations that keeps the budget is found.",
    additionalProperties: false,
    required: ["sqnr", "over"],
    properties: {
      sqnr: {
        type: "number",
        description: "Mean teacher-forced SQNR in dB that has to be left on the calibration trajectory.",
      },
      per: {
        enum: ["bytes", "flops", "latency"],
        default: "bytes",
        description: "What is made small: bytes of weights, operations of a run, or its estimated time.",
      },
      over: {
        type: "object",
        description:
          "Per pass, options from mild to strong, each laid over those the recipe gives the pass. Leaving the pass out is tried too.",
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 4,
        properties: Object.fromEntries(levels),
      },
    },
  };
}

/** The JSON Schema (draft 2020-12) of a recipe, assembled from what the passes and targets declare. */
export function recipeSchema(): JsonSchema {
  const known = stages();
  const list: JsonSchema = {
    type: "array",
    description:
      "Passes in the order they run. A name that the extended recipe has changes that entry in place; a new one comes after the entry before it.",
    items: {
      anyOf: [
        { type: "string", enum: Object.keys(known) },
        object(known, { minProperties: 1, maxProperties: 1 }),
      ],
    },
  };
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $id: SCHEMA_ID,
    title: "diffpress recipe",
    description: "What to do to a diffusion pipeline, for which targets, within which budgets.",
    ...object({
      $schema: { type: "string", description: "Address of this schema, for editors." },
      extends: {
        type: "string",
        minLength: 1,
        description: "A preset, or the path of another recipe relative to this file.",
      },
      seed: {
        type: "integer",
        minimum: 0,
        maximum: 4294967295,
        default: 0,
        description: "Seed of everything random.",
      },
      components: {
        description:
          "What components get besides the default (the denoiser the recipe's passes, everything else exact ones), by name or kind; or a plain list of the only ones that get the recipe's passes.",
        anyOf: [
          { type: "array", uniqueItems: true, items: { type: "string", minLength: 1 } },
          {
            type: "object",
            additionalProperties: {
              type: ["object", "null"],
              description: `By component name or kind (${COMPONENT_KINDS.join(", ")}): {} the recipe's passes, null exact passes only.`,
              additionalProperties: false,
              properties: { passes: list },
            },
          },
        ],
      },
      shape: bindings,
      calibration: sampling("The trajectory statistics are collected on.", choices),
      verification: sampling("The trajectory the build is judged on; its seeds never calibrate."),
      passes: list,
      split: splitSchema(known),
      targets: object(
        Object.fromEntries(
          targetNames.map((name) => [name, { $ref: "#/$defs/target", description: target(name).title }]),
        ),
        {
          description:
            "Targets to build for, with what differs for each; `null` drops one the extended recipe has.",
        },
      ),
      budgets: {
        type: ["object", "null"],
        description: "Limits checked at the end of a build; a missed one gives exit code 3.",
        additionalProperties: false,
        properties: {
          bytes: {
            anyOf: [
              { type: "integer", minimum: 1 },
              { type: "string", pattern: "^[0-9]+(\\.[0-9]+)? ?(%|B|KB|MB|GB|KiB|MiB|GiB)$" },
            ],
            description: "Bytes of a build: a number, `12 MB`, or `30%` of the original.",
          },
          sqnr: object(
            {
              mean: { type: "number", description: "Lowest mean over the steps, in dB." },
              worst: { type: "number", description: "Lowest of all steps, in dB." },
            },
            { description: "Teacher-forced SQNR per timestep." },
          ),
          psnr: { type: "number", description: "Lowest median PSNR of samples in dB." },
          ssim: { type: "number", minimum: -1, maximum: 1, description: "Lowest median SSIM of samples." },
        },
      },
      output: object(
        {
          inlineBelow: {
            type: "integer",
            minimum: 0,
            default: 1024,
            description: "Tensors of fewer bytes stay inside model.onnx.",
          },
          align: {
            type: "integer",
            minimum: 1,
            maximum: 1048576,
            default: 4096,
            description: "Alignment in bytes of tensors of 1 MiB and more in the data file.",
          },
          names: {
            enum: ["keep", "short"],
            default: "keep",
            description:
              "Names of inner values and nodes: as the input has them, or short ones, which saves a tenth of a small model.",
          },
          integers: {
            enum: ["keep", "narrow"],
            default: "keep",
            description:
              "Integer graph inputs: as the input has them, or int32 where the target cannot compute with int64.",
          },
        },
        { description: "How files are laid out." },
      ),
    }),
    $defs: {
      target: {
        type: ["object", "null"],
        additionalProperties: false,
        properties: {
          passes: object(known, {
            description: "Options per pass for this target; `null` skips the pass.",
          }),
          shape: bindings,
        },
      },
    },
  };
}
