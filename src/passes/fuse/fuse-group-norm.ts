import { elementCount } from "../../ir/dtype.ts";
import { floatAttr, intAttr } from "../../ir/graph.ts";
import { matchGroupNorm } from "../../ir/pattern/norm.ts";
import { definePass } from "../pass.ts";
import { fuseMatches, parameterVector } from "./driver.ts";

export const fuseGroupNorm = definePass<Record<string, never>>({
  name: "fuse-group-norm",
  family: "fuse",
  summary: "Replaces group normalisation spelled through InstanceNormalization by GroupNormalization",
  doc: `PyTorch's exporter writes Reshape, InstanceNormalization, Reshape, Mul, Add. Targets whose compilers know the
operator (opset 21, one scale per channel) get it as one node. Runtimes that would only unfold it again into some thirty
primitives keep the exporter's form: that is the target's choice, not this pass's.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    if ((ctx.model.opsets.get("") ?? 1) < 21) {
      ctx.decide({
        node: "",
        kind: "skipped",
        rule: "fuse-group-norm",
        why: "the model's opset is below 21",
      });
      return;
    }
    fuseMatches(graph, ctx, "fuse-group-norm", matchGroupNorm, (patch, m, node) => {
      const channels = ctx.shapes().shape(m.x)?.[1];
      const dtype = ctx.shapes().dtype(m.x);
      if (typeof channels !== "number" || dtype === null || m.groups === null) {
        return { why: "the number of channels is unknown" };
      }
      for (const c of [m.scale, m.bias]) {
        if (c !== null && elementCount(c.dims) !== channels)
          return { why: "scale or bias is not one per channel" };
      }
      const vector = (c: typeof m.scale, fill: number, name: string) =>
        patch.constant(parameterVector(c, channels, dtype, fill), `${node.name}_${name}`);
      return patch.node({
        op: "GroupNormalization",
        name: node.name,
        inputs: [m.x, vector(m.scale, 1, "scale"), vector(m.bias, 0, "bias")],
        attrs: { num_groups: intAttr(m.groups), epsilon: floatAttr(m.epsilon) },
      })[0];
    });
  },
});
