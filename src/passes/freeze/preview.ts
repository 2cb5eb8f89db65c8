import { anatomy } from "../../ir/anatomy/index.ts";
import { graphCost } from "../../ir/cost.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { tableBytes, timePath } from "./time-path.ts";

/** What tables over time would replace; `timesteps` is their number, `null` where only samples tell. */
export function previewFreezing(graph: Graph, timesteps: number | null, ctx: PreviewContext): PreviewLine[] {
  const line = (what: string, subject = ""): PreviewLine => ({ subject, what });
  const shapes = ctx.shapes();
  const input = anatomy(ctx.model, shapes).inputs.find((i) => i.role === "timestep");
  if (input === undefined) return [line("no graph input was recognised as a timestep")];
  const open: string[] = [];
  const path = timePath(graph, shapes, input.value, (name) => open.push(name));
  if (path.frontier.length === 0) return [line("no weights depend on the timestep alone")];
  const { nodes } = graphCost(ctx.model, { shapes, bindings: { ...Object.fromEntries(openBatch(ctx)) } });
  const flops = path.dead.reduce((n, node) => n + (nodes.get(node.id)?.flops ?? 0), 0);
  const row = tableBytes(path.frontier, 0);
  const pays = Math.ceil(path.bytes / row) - 2;
  const size =
    timesteps === null
      ? `tables take ${row} bytes a timestep and one more row, and pay up to ${Math.max(0, pays)} timesteps`
      : `tables of ${timesteps} timesteps take ${tableBytes(path.frontier, timesteps)} bytes and pay up to ${Math.max(0, pays)}`;
  return [
    line(
      `${path.frontier.length} values depend on "${input.name}" alone; ${path.dead.length} nodes with ${path.bytes} bytes of weights and ${(flops / 1e6).toFixed(2)} MFLOP a sample go; ${size}`,
    ),
    ...path.frontier.map((f) =>
      line(`a table of rows of ${elementCount(f.rest)} elements`, graph.value(f.value).name),
    ),
    ...(open.length > 0 ? [line(`${open.length} values stay computed: their shapes are not known`)] : []),
  ];
}

/** Every symbol of the inputs as one sample: time paths depend on nothing else. */
function openBatch({ model }: PreviewContext): [string, number][] {
  return model.graph.inputs.flatMap((id) => {
    const { type } = model.graph.value(id);
    const shape = type?.kind === "tensor" ? (type.shape ?? []) : [];
    return shape.flatMap((d): [string, number][] => (typeof d === "string" ? [[d, 1]] : []));
  });
}
