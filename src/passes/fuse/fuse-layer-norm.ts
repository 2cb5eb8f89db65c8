import { elementCount } from "../../ir/dtype.ts";
import { floatAttr, intAttr } from "../../ir/graph.ts";
import { matchLayerNorm } from "../../ir/pattern/norm.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { definePass } from "../pass.ts";
import { fuseMatches, parameterVector } from "./driver.ts";

export const fuseLayerNorm = definePass<Record<string, never>>({
  name: "fuse-layer-norm",
  family: "fuse",
  summary: "Replaces written-out layer normalisation by LayerNormalization",
  doc: `Recognises mean, centring, variance, root and division in the spellings exporters use, with or without scale and
bias, over any run of trailing axes. Needs opset 17. One node with fp32 statistics inside is faster everywhere and, in
half precision, the difference between working and overflowing.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    if ((ctx.model.opsets.get("") ?? 1) < 17) {
      ctx.decide({
        node: "",
        kind: "skipped",
        rule: "fuse-layer-norm",
        why: "the model's opset is below 17",
      });
      return;
    }
    fuseMatches(graph, ctx, "fuse-layer-norm", matchLayerNorm, (patch, m, node) => {
      const shape = ctx.shapes().shape(m.x);
      const dtype = ctx.shapes().dtype(m.x);
      if (shape === null || dtype === null) return { why: "the input's shape is unknown" };
      if (ctx.shapes().dtype(m.output) !== dtype)
        return { why: "input and output have different element types" };
      const axes = m.axes.map((a) => (a < 0 ? a + shape.length : a));
      const first = shape.length - axes.length;
      if (axes.some((a, i) => a !== first + i)) return { why: `the axes ${m.axes} are not the last ones` };
      const dims = shape.slice(first);
      if (!dims.every((d): d is number => typeof d === "number"))
        return { why: "the normalised length is symbolic" };
      const length = elementCount(dims);
      for (const c of [m.scale, m.bias]) {
        if (c !== null && elementCount(c.dims) !== length)
          return { why: "scale or bias does not cover the axes" };
      }
      const vector = (c: typeof m.scale, fill: number, name: string) =>
        patch.constant(reshapeTensor(parameterVector(c, length, dtype, fill), dims), `${node.name}_${name}`);
      const inputs = [m.x, vector(m.scale, 1, "scale")];
      if (m.bias !== null) inputs.push(vector(m.bias, 0, "bias"));
      return patch.node({
        op: "LayerNormalization",
        name: node.name,
        inputs,
        attrs: { axis: intAttr(-axes.length), epsilon: floatAttr(m.epsilon) },
      })[0];
    });
  },
});
