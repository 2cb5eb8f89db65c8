import { anatomy } from "../../ir/anatomy/index.ts";
import { attrFloat, attrInt, type Graph, type Node, type ValueId } from "../../ir/graph.ts";
import type { PassContext } from "../pass.ts";
import { guardedLayers } from "../quantize/guards.ts";
import { type Layer, weightLayers } from "../quantize/layers.ts";

/** Inputs beyond which no spectrum is computed: it takes their number cubed. */
const MOST_INPUTS = 1024;

/** Layers whose inputs a basis may serve together. */
export interface InputGroup {
  /** What they have in common, for reports. */
  readonly what: string;
  readonly layers: readonly Layer[];
  readonly columns: number;
}

/** A matrix product whose weight nothing else reads. */
function plain(graph: Graph, { node, role, tensor, value }: Layer): boolean {
  if (tensor.dims.length !== 2 || tensor.dtype !== "f32" || node.domain !== "" || role.groups !== 1)
    return false;
  if (node.op !== "MatMul" && node.op !== "Gemm") return false;
  const scaled = (attrFloat(node, "alpha") ?? 1) !== 1 || (attrFloat(node, "beta") ?? 1) !== 1;
  const turned = (attrInt(node, "transA") ?? 0) !== 0;
  return !scaled && !turned && role.input === 1 && graph.users(value).length === 1 && !graph.isOutput(value);
}

const inputOf = (node: Node): ValueId => node.inputs[0]!;

/**
 * Layers that read the same value, and, where there are several, modulations of norms that read different values of one
 * kind: their inputs are embeddings of the same timestep and class. `leave` is told of matrix products that cannot take
 * part, with why.
 */
export function inputGroups(
  graph: Graph,
  select: (name: string) => boolean,
  ctx: Pick<PassContext, "model" | "shapes">,
  leave: (why: string) => void = () => {},
): InputGroup[] {
  const guards = guardedLayers(ctx);
  const kinds = new Map(anatomy(ctx.model, ctx.shapes()).layers.map((l) => [l.node, l.kind]));
  const columnsOf = (l: Layer): number => l.tensor.dims[l.role.inAxis]!;
  const layers = weightLayers(graph, ctx.shapes()).filter((l) => {
    if (!plain(graph, l) || !select(l.node.name)) return false;
    const guard = guards.get(l.node.id);
    const why =
      guard !== undefined
        ? `guards leave it as it is (${guard})`
        : columnsOf(l) > MOST_INPUTS
          ? `it has more than ${MOST_INPUTS} inputs`
          : null;
    if (why !== null) leave(why);
    return why === null;
  });
  const byValue = new Map<ValueId, Layer[]>();
  for (const l of layers) byValue.set(inputOf(l.node), [...(byValue.get(inputOf(l.node)) ?? []), l]);
  const groups: InputGroup[] = [];
  const modulations = new Map<number, Layer[]>();
  for (const [value, some] of byValue) {
    const [first] = some;
    const columns = columnsOf(first!);
    if (some.length > 1)
      groups.push({ what: `layers that read "${graph.value(value).name}"`, layers: some, columns });
    else if (kinds.get(first!.node.id) === "adaln")
      modulations.set(columns, [...(modulations.get(columns) ?? []), first!]);
  }
  for (const [columns, some] of modulations)
    if (some.length > 1) groups.push({ what: "modulations of norms", layers: some, columns });
  return groups;
}
