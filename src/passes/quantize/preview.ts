import { DTYPES, elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { counted, leftLines } from "../preview-text.ts";
import { type Choice, plan, type QuantizeWeightsOptions, STRICTNESS, shared } from "./plan.ts";

const BITS: Readonly<Record<Choice, number>> = {
  w2: 2,
  f4: 4,
  w4: 4,
  w8: 8,
  f16: DTYPES.f16.bits,
  f32: DTYPES.f32.bits,
};

/** Weights by the format they would get, with what their numbers take; scales and codebooks come on top. */
export function previewFormats(graph: Graph, o: QuantizeWeightsOptions, ctx: PreviewContext): PreviewLine[] {
  const left = leftLines();
  const how = { ...ctx, decide: left.decide };
  const by = new Map<Choice, { count: number; before: number; after: number }>();
  for (const { uses, format } of shared(graph, plan(graph, o, how), how)) {
    const { tensor } = uses[0]!.layer;
    const sum = by.get(format) ?? { count: 0, before: 0, after: 0 };
    const after = Math.ceil((elementCount(tensor.dims) * BITS[format]) / 8);
    by.set(format, {
      count: sum.count + 1,
      before: sum.before + tensorBytes(tensor),
      after: sum.after + after,
    });
  }
  const what = o.method === "palette" ? "indices" : "numbers";
  const lines = STRICTNESS.flatMap((format) => {
    const sum = by.get(format);
    return sum === undefined
      ? []
      : [
          {
            subject: "",
            what: `${counted(sum.count, "weight")} in ${format}: ${sum.before} bytes become ${sum.after} of ${BITS[format] < 16 ? what : "numbers"}`,
          },
        ];
  });
  return [...lines, ...left.lines("layer")];
}
