import { fail } from "../../diagnostics/index.ts";
import { substitute } from "../../ir/dim.ts";
import type { Graph, ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Dim, tensorType, type ValueType } from "../../ir/types.ts";
import { type Bindings, definePass } from "../pass.ts";

/** Every name `--shape` may use: symbols of the graph inputs, then `input.axis` for each axis that is not a number. */
export function bindableDims(graph: Graph): string[] {
  const symbols = new Set<string>();
  const axes: string[] = [];
  for (const id of graph.inputs) {
    const { type, name } = graph.value(id);
    if (type?.kind !== "tensor" || type.shape === null) continue;
    for (const [axis, dim] of type.shape.entries()) {
      if (typeof dim === "number") continue;
      if (!dim.startsWith("?")) symbols.add(dim);
      axes.push(`${name}.${axis}`);
    }
  }
  return [...symbols, ...axes];
}

function bound(type: ValueType | null, name: string, bindings: Bindings): ValueType | null {
  if (type?.kind !== "tensor" || type.shape === null) return null;
  const shape: Dim[] = type.shape.map(
    (dim, axis) => bindings[`${name}.${axis}`] ?? substitute(dim, bindings),
  );
  return shape.some((d, i) => d !== type.shape![i]) ? tensorType(type.dtype, shape) : null;
}

export const specialiseShapes = definePass<{ dims: Bindings }>({
  name: "specialise-shapes",
  family: "clean",
  summary: "Gives symbolic dimensions of the graph inputs fixed lengths",
  doc: `\`--shape batch_size=2,height=64\` ends here. A name is a symbol as \`inspect\` lists it, or \`input.axis\` for one
axis of one input. Declared types of inner values are dropped, because they spell the old symbols; graph outputs get
the lengths that follow. Only then can the shape arithmetic of the export fold away. The build refuses other sizes.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      dims: {
        type: "object",
        default: {},
        description: "Length per symbol or `input.axis`.",
        additionalProperties: { type: "integer", minimum: 1 },
      },
    },
  },
  version: 1,
  run(graph, { dims }, ctx) {
    const names = Object.keys(dims);
    if (names.length === 0) return;
    const known = bindableDims(graph);
    for (const dim of names) {
      if (!known.includes(dim)) fail("SHAPE_DIM_UNKNOWN", { dim, known });
      const value = dims[dim]!;
      if (!Number.isSafeInteger(value) || value < 1) fail("SHAPE_DIM_INVALID", { dim, value });
    }
    // `sample.2=64` binds the symbol of that axis everywhere it appears, as the same name does.
    const bindings: Record<string, number> = { ...dims };
    const patch = new PatchBuilder(graph, "specialise-shapes");
    for (const id of graph.inputs) {
      const { type, name } = graph.value(id);
      if (type?.kind !== "tensor" || type.shape === null) continue;
      for (const [axis, dim] of type.shape.entries()) {
        const value = dims[`${name}.${axis}`];
        if (value !== undefined && typeof dim === "string") bindings[dim] = value;
      }
    }
    const inner = (id: ValueId): boolean => !graph.inputs.includes(id) && !graph.isOutput(id);
    for (const value of graph.values()) {
      const next = bound(value.type, value.name, bindings);
      if (next !== null && graph.inputs.includes(value.id)) patch.retype(value.id, next);
      else if (inner(value.id) && value.type !== null) patch.retype(value.id, null);
    }
    patch.apply();

    const outputs = new PatchBuilder(graph, "specialise-shapes/outputs");
    for (const id of graph.outputs) {
      const value = graph.value(id);
      const inferred = ctx.shapes().type(id);
      if (inferred?.kind === "tensor" && ctx.shapes().staticShape(id) !== null) outputs.retype(id, inferred);
      else {
        const next = bound(value.type, value.name, bindings);
        if (next !== null) outputs.retype(id, next);
      }
    }
    outputs.apply();
    for (const dim of names)
      ctx.decide({ node: dim, kind: "applied", rule: "bind-dim", to: String(dims[dim]) });
  },
});
