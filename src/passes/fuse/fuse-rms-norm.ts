import { floatAttr, intAttr } from "../../ir/graph.ts";
import { matchRmsNorm } from "../../ir/pattern/norm.ts";
import { definePass } from "../pass.ts";
import { fuseMatches, parameterVector } from "./driver.ts";

export const fuseRmsNorm = definePass<{ spelling: "RMSNormalization" | "SimplifiedLayerNormalization" }>({
  name: "fuse-rms-norm",
  family: "fuse",
  summary:
    "Replaces written-out RMS normalisation by RMSNormalization or onnxruntime's SimplifiedLayerNormalization",
  doc: `Recognises the mean of squares over the last axis, its root and the division, with an optional scale. The standard
operator needs opset 23; onnxruntime has had the same computation as SimplifiedLayerNormalization for longer.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      spelling: {
        enum: ["RMSNormalization", "SimplifiedLayerNormalization"],
        default: "RMSNormalization",
        description: "Operator to write.",
      },
    },
  },
  version: 1,
  run(graph, { spelling }, ctx) {
    if (spelling === "RMSNormalization" && (ctx.model.opsets.get("") ?? 1) < 23) {
      ctx.decide({ node: "", kind: "skipped", rule: "fuse-rms-norm", why: "the model's opset is below 23" });
      return;
    }
    fuseMatches(graph, ctx, "fuse-rms-norm", matchRmsNorm, (patch, m, node) => {
      const shape = ctx.shapes().shape(m.x);
      const dtype = ctx.shapes().dtype(m.x);
      if (shape === null || dtype === null) return { why: "the input's shape is unknown" };
      if (ctx.shapes().dtype(m.output) !== dtype)
        return { why: "input and output have different element types" };
      const length = shape.at(-1);
      const last = m.axes.length === 1 && (m.axes[0] === -1 || m.axes[0] === shape.length - 1);
      if (!last || typeof length !== "number")
        return { why: "the normalised axis is not a last one of known length" };
      return patch.node({
        op: spelling,
        name: node.name,
        inputs: [m.x, patch.constant(parameterVector(m.scale, length, dtype, 1), `${node.name}_scale`)],
        attrs: {
          axis: intAttr(-1),
          epsilon: floatAttr(m.epsilon),
          ...(spelling === "RMSNormalization" ? {} : { stash_type: intAttr(1) }),
        },
      })[0];
    });
  },
});
