import { type Graph, type Node, subgraphs } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import { opSpec } from "../../../ir/ops/index.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import type { Draft } from "./step.ts";
import { knownVersions, stepTo } from "./table.ts";

/** A node that cannot be converted, and why. */
export interface Obstacle {
  readonly node: string;
  readonly op: string;
  readonly why: string;
}

/** The edits that bring one graph (not its subgraphs) to another opset. */
export interface GraphPlan {
  readonly graph: Graph;
  readonly patch: PatchBuilder;
  readonly converted: ReadonlyMap<string, number>;
}

/** The next version of an operator above `at`, up to `to`. */
function nextVersion(op: string, at: number, to: number): number | undefined {
  const versions = new Set([...(opSpec("", op)?.versions ?? []), ...knownVersions(op)]);
  return [...versions].filter((v) => v > at && v <= to).sort((a, b) => a - b)[0];
}

function convertNode(
  node: Node,
  from: number,
  to: number,
  plan: { graph: Graph; shapes: InferredShapes | null; patch: PatchBuilder },
): { edited: boolean; why: string | null } {
  const draft: Draft = {
    op: node.op,
    inputs: [...node.inputs],
    outputs: [...node.outputs],
    attrs: new Map(node.attrs),
  };
  const c = { ...plan, node };
  if (opSpec("", node.op) === undefined && knownVersions(node.op).length === 0)
    return { edited: false, why: `the operator ${node.op} is unknown, so what changed in it is too` };
  let edited = false;
  for (let at = from; ; ) {
    const version = nextVersion(draft.op, at, to);
    if (version === undefined) break;
    const step = stepTo(draft.op, version);
    if (step === undefined)
      return { edited, why: `no rule says what opset ${version} changed in ${draft.op}` };
    if (step !== null) {
      if ([...draft.attrs.values()].some((a) => a.kind === "ref"))
        return { edited, why: "an attribute comes from the function call" };
      const why = step(draft, c);
      if (why !== null) return { edited, why };
      edited = true;
    }
    at = version;
  }
  if (edited) plan.patch.replace(node, draft);
  return { edited, why: null };
}

/**
 * Plans the conversion of a graph and its subgraphs, innermost first. Nothing is changed; obstacles are collected so
 * that a report can name all of them.
 */
export function planOpset(
  graph: Graph,
  shapes: InferredShapes | null,
  from: number,
  to: number,
  obstacles: Obstacle[],
): GraphPlan[] {
  const plans: GraphPlan[] = [];
  const patch = new PatchBuilder(graph, "convert-opset");
  const converted = new Map<string, number>();
  for (const node of graph.nodes()) {
    for (const inner of subgraphs(node)) plans.push(...planOpset(inner, shapes, from, to, obstacles));
    if (node.domain !== "") continue;
    const { edited, why } = convertNode(node, from, to, { graph, shapes, patch });
    if (why !== null) obstacles.push({ node: node.name, op: node.op, why });
    else if (edited) converted.set(node.op, (converted.get(node.op) ?? 0) + 1);
  }
  plans.push({ graph, patch, converted });
  return plans;
}
