import { fail } from "../../diagnostics/index.ts";
import type { Value } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Shape, tensorType } from "../../ir/types.ts";
import { definePass } from "../pass.ts";

const show = (shape: Shape): string => (shape === null ? "unknown" : `[${shape.join(", ")}]`);

export interface StoreShapesOptions {
  /** Fail on graph inputs that are not static where the target wants static shapes. */
  strict: boolean;
}

export const storeShapes = definePass<StoreShapesOptions>({
  name: "store-shapes",
  family: "legalise",
  summary: "Writes the inferred type of every value into the file, and checks static shapes and ranks",
  doc: `Compilers for accelerators partition a graph by the types stored in it and leave nodes of unknown shape on the
CPU, so every value gets its inferred type as value_info. Values that stay dynamic, and values of a higher rank than the
target takes, are reported: the nodes around them leave the accelerator. With \`strict\`, a graph input that is not
static on a target of static shapes stops the build.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      strict: {
        type: "boolean",
        default: false,
        description: "Stop when a graph input is not static and the target takes static shapes only.",
      },
    },
  },
  version: 1,
  run(graph, { strict }, ctx) {
    const { target } = ctx;
    if (strict && target?.shapes.static) {
      for (const id of graph.inputs) {
        const { name, type } = graph.value(id);
        const shape = type?.kind === "tensor" ? type.shape : null;
        const symbols = (shape ?? []).filter((d): d is string => typeof d === "string");
        if (shape === null || symbols.length > 0)
          fail("TARGET_SHAPE_DYNAMIC", { target: target.id, value: name, shape: show(shape), symbols });
      }
    }
    const shapes = ctx.shapes();
    const patch = new PatchBuilder(graph, "store-shapes");
    let stored = 0;
    const look = (v: Value): void => {
      const dtype = shapes.dtype(v.id);
      const shape = shapes.shape(v.id);
      const dims = shapes.staticShape(v.id);
      if (target?.shapes.static && dims === null)
        ctx.decide({
          node: v.name,
          kind: "skipped",
          rule: "static-shape",
          why: `its shape is ${show(shape)}`,
        });
      if (target !== null && shape !== null && shape.length > target.shapes.maxRank)
        ctx.decide({
          node: v.name,
          kind: "skipped",
          rule: "rank",
          why: `rank ${shape.length} is above ${target.shapes.maxRank}`,
        });
      if (dtype === null || dims === null || graph.isOutput(v.id)) return;
      const old = v.type;
      if (old?.kind === "tensor" && old.dtype === dtype && JSON.stringify(old.shape) === JSON.stringify(dims))
        return;
      patch.retype(v.id, tensorType(dtype, dims));
      stored++;
    };
    for (const v of graph.values()) if (v.producer !== null) look(v);
    patch.apply();
    if (stored > 0) ctx.decide({ node: "", kind: "applied", rule: "value-info", count: stored });
  },
});
