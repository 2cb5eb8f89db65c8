import { anatomy } from "../../ir/anatomy/index.ts";
import { graphCost } from "../../ir/cost.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { type FrozenPath, frozenPath, staticRest, tableBytes } from "./path.ts";

const line = (what: string, subject = ""): PreviewLine => ({ subject, what });

/** What tables over time would replace; `timesteps` is their number, `null` where only samples tell. */
export function previewFreezing(graph: Graph, timesteps: number | null, ctx: PreviewContext): PreviewLine[] {
  const shapes = ctx.shapes();
  const input = anatomy(ctx.model, shapes).inputs.find((i) => i.role === "timestep");
  if (input === undefined) return [line("no graph input was recognised as a timestep")];
  const inputs = new Set([input.value]);
  const path = frozenPath(graph, shapes, { inputs, rest: (value) => staticRest(shapes, value) });
  if (path.frontier.length === 0) return [line("no weights depend on the timestep alone")];
  return previewTables(path, { of: `"${input.name}"`, rows: timesteps, what: "timestep" }, ctx);
}

/** What tables over an input would replace, from shapes alone. */
export function previewTables(
  path: FrozenPath,
  o: { readonly of: string; readonly rows: number | null; readonly what: string },
  ctx: PreviewContext,
): PreviewLine[] {
  const { graph } = ctx.model;
  const { nodes } = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: oneSample(ctx) });
  const flops = path.dead.reduce((n, node) => n + (nodes.get(node.id)?.flops ?? 0), 0);
  const row = tableBytes(path.frontier, 0);
  const pays = Math.max(0, Math.ceil(path.bytes / row) - 2);
  const size =
    o.rows === null
      ? `tables take ${row} bytes a ${o.what} and one more row, and pay up to ${pays} ${o.what}s`
      : `tables of ${o.rows} ${o.what}s take ${tableBytes(path.frontier, o.rows)} bytes and pay up to ${pays}`;
  return [
    line(
      `${path.frontier.length} values depend on ${o.of} alone; ${path.dead.length} nodes with ${path.bytes} bytes of weights and ${(flops / 1e6).toFixed(2)} MFLOP a sample go; ${size}`,
    ),
    ...path.frontier.map((f) =>
      line(`a table of rows of ${elementCount(f.rest)} elements`, graph.value(f.value).name),
    ),
    ...(path.open.length > 0
      ? [line(`${path.open.length} values stay computed: their shapes are not known`)]
      : []),
  ];
}

/** Every symbol of the inputs as one sample. */
function oneSample({ model }: PreviewContext): Record<string, number> {
  return Object.fromEntries(
    model.graph.inputs.flatMap((id) => {
      const { type } = model.graph.value(id);
      const shape = type?.kind === "tensor" ? (type.shape ?? []) : [];
      return shape.flatMap((d): [string, number][] => (typeof d === "string" ? [[d, 1]] : []));
    }),
  );
}
