import type { DType } from "../../ir/dtype.ts";
import type { Json } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import { list, object, type Schema } from "../../report/schema.ts";
import type { ManifestFile } from "../manifest.ts";

/** One input or output of a model; open dims have names. */
export interface BuildPort {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** What an output of the self-test looks like, for those who cannot read the archive. Rounded to six digits. */
export interface ExpectedOutput {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** The first few elements. */
  readonly first: readonly number[];
  readonly mean: number;
  readonly rms: number;
}

/** One seeded input with the outputs that reference arithmetic gives. */
export interface SelfTest {
  /** npz archive beside the model: `in.NAME` for every input, `out.NAME` for every output. */
  readonly file: string;
  /** Signal to error in dB that every output keeps on the device. */
  readonly minSqnrDb: number;
  /** What the expected outputs were computed with. */
  readonly reference: string;
  /** Operators without a CPU kernel that the reference spells in standard ones; absent where there are none. */
  readonly twin?: readonly string[];
  readonly inputs: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly dims: readonly number[];
  }[];
  readonly outputs: readonly ExpectedOutput[];
}

/** One model of a target's build. Paths are relative to the target folder. */
export interface BuildComponent {
  readonly name: string;
  readonly kind: string;
  /** What is loaded: a model, or the description of a graph set. */
  readonly model: string;
  readonly files: readonly ManifestFile[];
  readonly inputs: readonly BuildPort[];
  readonly outputs: readonly BuildPort[];
  /** Constants by the type they are stored in, largest share first. */
  readonly weights: readonly { readonly dtype: DType; readonly tensors: number; readonly bytes: number }[];
  /** What quantization and the like did, by rule, with the number of layers. */
  readonly applied: readonly { readonly pass: string; readonly rule: string; readonly count: number }[];
  readonly selfTest: SelfTest | null;
  /** Why there is no self-test; absent where there is one. */
  readonly noSelfTest?: string;
}

/** `build.json`: how to load one target's build, and how to see that it works there. */
export interface BuildFile {
  readonly schema: 1;
  readonly diffpress: string;
  readonly target: { readonly id: string; readonly title: string };
  /** Execution provider by its names in Node and Python, its options, and options of the session. */
  readonly provider: {
    readonly name: string;
    readonly python: string;
    readonly options: { readonly [key: string]: string | number | boolean };
  };
  readonly session: { readonly graphOptimizationLevel: "all" };
  /** Version of the standard operators. */
  readonly opset: number;
  /** Version of onnxruntime that the build was checked with. */
  readonly onnxruntime: string;
  readonly components: readonly BuildComponent[];
}

/** Name of the file in a target folder. */
export const BUILD_FILE = "build.json";

const string: Schema = { type: "string" };
const number: Schema = { type: "number" };
const count: Schema = { type: "integer", minimum: 0 };
/** Below the folder, without steps up. */
const path: Schema = { type: "string", pattern: "^(?!/)(?!.*(^|/)\\.\\.(/|$))[^\\\\:\\u0000]+$" };

const port = object({ name: string, dtype: string, shape: list({ type: ["integer", "string"] }) });

const selfTest = object(
  {
    file: path,
    minSqnrDb: number,
    reference: string,
    inputs: list(object({ name: string, dtype: string, dims: list(count) })),
    outputs: list(
      object({
        name: string,
        dtype: string,
        dims: list(count),
        first: list(number),
        mean: number,
        rms: number,
      }),
    ),
  },
  { twin: list(string) },
);

const component = object(
  {
    name: string,
    kind: string,
    model: path,
    files: list(object({ path, bytes: count, sha256: { type: "string", pattern: "^[0-9a-f]{64}$" } })),
    inputs: list(port),
    outputs: list(port),
    weights: list(object({ dtype: string, tensors: count, bytes: count })),
    applied: list(object({ pass: string, rule: string, count })),
    selfTest: { anyOf: [selfTest, { type: "null" }] },
  },
  { noSelfTest: string },
);

/** The JSON Schema (draft 2020-12) of `build.json`. */
export function buildSchema(): { readonly [key: string]: Json } {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $id: "urn:diffpress:build:1",
    title: "diffpress build",
    description: "How to load one target's build, and how to see that it works on the device.",
    ...object({
      schema: { const: 1 },
      diffpress: string,
      target: object({ id: string, title: string }),
      provider: object({ name: string, python: string, options: { type: "object" } }),
      session: object({ graphOptimizationLevel: { const: "all" } }),
      opset: count,
      onnxruntime: string,
      components: list(component),
    }),
  };
}
