import type { AttrInput } from "../../../src/ir/build.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { DType } from "../../../src/ir/dtype.ts";
import type { ValueId } from "../../../src/ir/graph.ts";
import { typeText } from "../../../src/ir/infer/merge.ts";
import { type InferenceResult, inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import type { Dim } from "../../../src/ir/types.ts";

/** An input: `f32[2,h]`, `f32[...]` for an unknown rank, numbers for an int64 constant, a tensor, or nothing. */
type Operand = string | readonly number[] | Tensor | { readonly f32: readonly number[] } | null;

export interface Case {
  readonly op: string;
  readonly domain?: string;
  readonly opset?: number;
  readonly inputs: readonly Operand[];
  readonly attrs?: Readonly<Record<string, AttrInput>>;
  readonly outputs?: number;
}

export interface Outcome {
  /** Output types as text; every unknown dim reads `?`. */
  readonly types: readonly string[];
  /** Followed values of output 0. */
  readonly data: readonly Dim[] | null;
  /** What is wrong with the node. */
  readonly problems: readonly string[];
  readonly result: InferenceResult;
  readonly ids: readonly ValueId[];
}

/** Splits at commas outside parentheses. */
function dims(text: string): Dim[] {
  const out: string[] = [];
  let depth = 0;
  let last = "";
  for (const c of text) {
    if (c === "(") depth++;
    if (c === ")") depth--;
    if (c === "," && depth === 0) {
      out.push(last);
      last = "";
    } else last += c;
  }
  if (text !== "") out.push(last);
  return out.map((d) => (/^\d+$/.test(d) ? Number(d) : d));
}

/** Infers one node and returns what came out. */
export function infer(c: Case): Outcome {
  const b = new ModelBuilder({ opset: c.opset ?? 21, domains: { "com.microsoft": 1 } });
  const inputs = c.inputs.map((x, i) => {
    if (x === null) return null;
    if (typeof x === "string") {
      const [, dtype, shape] = /^(\w+)\[(.*)\]$/.exec(x)!;
      return b.input(`x${i}`, dtype as DType, shape === "..." ? null : dims(shape!));
    }
    if (Array.isArray(x)) return b.constant(i64Tensor(x as readonly number[]), `c${i}`);
    if ("f32" in x) return b.constant(f32Tensor(x.f32), `c${i}`);
    return b.constant(x as Tensor, `c${i}`);
  });
  const options = c.domain === undefined ? {} : { domain: c.domain };
  const ids = b.multi(c.op, inputs, c.outputs ?? 1, c.attrs ?? {}, options) as ValueId[];
  for (const id of ids) b.output(id);
  const result = inferShapes(b.build());
  return {
    types: ids.map((id) => typeText(result.type(id)).replaceAll(/\?[\d.x_:a-f]+/g, "?")),
    data: result.data(ids[0]!),
    problems: result.diagnostics.map((d) => d.code),
    result,
    ids,
  };
}

/** Types of the outputs of a sound node. Fails the test when the node is refused. */
export function types(c: Case): readonly string[] {
  const out = infer(c);
  if (out.problems.length > 0) throw new Error(out.result.diagnostics.map((d) => d.message).join("\n"));
  return out.types;
}
