import { definePass } from "../pass.ts";
import { type Rule, rewriteToFixedPoint } from "../rewrite.ts";

const matMulAdd: Rule = {
  name: "matmul-add-to-gemm",
  ops: ["Add"],
  apply(c, add) {
    const side = c.producer(add, 0, "MatMul") !== undefined ? 0 : 1;
    const mm = c.producer(add, side, "MatMul");
    const bias = c.constant(add, 1 - side);
    if (mm === undefined || bias === null || c.onlyUser(mm) !== add) return false;
    const x = c.shape(mm.inputs[0]);
    const w = c.constant(mm, 1);
    if (x?.length !== 2 || w?.dims.length !== 2) return false;
    const width = w.dims[1];
    const fits =
      bias.dims.at(-1) === width && bias.dims.slice(0, -1).every((d) => d === 1) && bias.dims.length <= 2;
    if (!fits || !c.claim(add, mm)) return false;
    const [out] = c.patch.node({
      op: "Gemm",
      name: add.name,
      inputs: [mm.inputs[0]!, mm.inputs[1]!, add.inputs[1 - side]!],
    });
    c.bypass(add, out);
    c.patch.remove(mm.id);
    return true;
  },
};

export const fuseGemm = definePass<Record<string, never>>({
  name: "fuse-gemm",
  family: "fuse",
  summary: "Replaces MatMul and bias Add of matrices by one Gemm",
  doc: `Only for inputs of rank 2, where Gemm needs no reshapes around it.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(graph, [matMulAdd], ctx, "fuse-gemm");
  },
});
