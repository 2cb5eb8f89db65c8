import { productDim } from "../../ir/dim.ts";
import { intsAttr, type Node, type ValueId } from "../../ir/graph.ts";
import { permOf, sameShape } from "../../ir/pattern/checks.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import { blockMoves } from "../../numeric/permutation.ts";
import { reshapeTarget } from "../clean/rules/reshape.ts";
import { definePass } from "../pass.ts";
import { type RewriteContext, type Rule, rewriteToFixedPoint } from "../rewrite.ts";

/** Options of `reduce-rank`. */
export interface ReduceRankOptions {
  /** Highest rank of a tensor; `null` takes the target's. */
  maxRank: number | null;
}

/** Operators that only change the shape. */
const RESHAPES: ReadonlySet<string> = new Set(["Reshape", "Squeeze", "Unsqueeze", "Flatten"]);

const reshapes = (node: Node | undefined): node is Node =>
  node !== undefined && node.domain === "" && RESHAPES.has(node.op);

/** A transposition of many axes between changes of shape: where it starts, and the values that end it. */
interface Passage {
  readonly source: ValueId;
  readonly from: readonly Dim[];
  readonly axes: readonly Dim[];
  readonly perm: readonly number[];
  readonly ends: readonly { readonly node: Node; readonly dims: readonly Dim[] }[];
}

/** The passage through a Transpose, or why there is none. */
function passageOf(c: RewriteContext, move: Node, most: number): Passage | string {
  const axes = c.shape(move.inputs[0]);
  const perm = permOf(c, move);
  if (axes === null || perm === null) return "its shape is not known";
  const first = c.graph.producer(move.inputs[0]);
  const from = reshapes(first) ? c.shape(first.inputs[0]) : null;
  if (!reshapes(first) || from === null || from.length > most)
    return "its axes do not come from a change of shape alone";
  const out = move.outputs[0]!;
  const readers = c.graph.users(out).map((id) => c.graph.node(id));
  const ends = readers.map((node) => ({ node, dims: reshapes(node) ? c.shape(node.outputs[0]) : null }));
  const known = ends.filter((e): e is Passage["ends"][number] => e.dims !== null && e.dims.length <= most);
  if (c.graph.isOutput(out) || ends.length === 0 || known.length < ends.length)
    return "its axes are not gathered by a change of shape alone";
  return { source: first.inputs[0]!, from, axes, perm, ends: known };
}

/** One step of the way: new lengths in the same order of elements, or a new order of axes. */
type Step =
  | { readonly op: "Reshape"; readonly target: readonly number[] }
  | { readonly op: "Transpose"; readonly perm: readonly number[] };

/** The steps of a passage, and what each end writes behind them; `null` where a constant cannot say the lengths. */
function stepsOf(
  p: Passage,
  most: number,
): { readonly way: readonly Step[]; readonly ends: readonly (readonly number[] | null)[] } | null {
  const way: Step[] = [];
  let at = p.from;
  const reshape = (to: readonly Dim[]): boolean => {
    if (sameShape(at, to)) return true;
    const target = reshapeTarget(at, to);
    if (target === null) return false;
    way.push({ op: "Reshape", target });
    at = to;
    return true;
  };
  for (const { blocks, order } of blockMoves(
    p.perm.filter((axis) => p.axes[axis] !== 1),
    most,
  )) {
    if (!reshape(blocks.map((axes) => productDim(axes.map((axis) => p.axes[axis]!))))) return null;
    way.push({ op: "Transpose", perm: order });
    const before = at;
    at = order.map((i) => before[i]!);
  }
  const ends: (readonly number[] | null)[] = [];
  for (const { dims } of p.ends) {
    const target = sameShape(at, dims) ? null : reshapeTarget(at, dims);
    if (target === null && !sameShape(at, dims)) return null;
    ends.push(target);
  }
  return { way, ends };
}

/** The rule for one target; where it cannot help, it says why once per node. */
function mergeAxes(most: number, refused: Map<string, string>): Rule {
  return {
    name: "merge-axes",
    ops: ["Transpose"],
    apply(c, move) {
      if ((c.shape(move.inputs[0])?.length ?? 0) <= most) return false;
      const passage = passageOf(c, move, most);
      if (typeof passage === "string") {
        refused.set(move.name, passage);
        return false;
      }
      const steps = stepsOf(passage, most);
      if (steps === null) {
        refused.set(move.name, "more than one of its lengths is open");
        return false;
      }
      if (!c.claim(move, ...passage.ends.map((e) => e.node))) return false;
      refused.delete(move.name);
      let at = passage.source;
      const reshape = (target: readonly number[], name: string): ValueId =>
        c.patch.node({
          op: "Reshape",
          name,
          inputs: [at, c.patch.constant(i64Tensor(target), `${name}_shape`)],
        })[0];
      for (const [i, step] of steps.way.entries())
        at =
          step.op === "Reshape"
            ? reshape(step.target, `${move.name}/axes${i}`)
            : c.patch.node({
                op: "Transpose",
                name: i === steps.way.length - 1 ? move.name : `${move.name}/move${i}`,
                inputs: [at],
                attrs: { perm: intsAttr(step.perm) },
              })[0];
      for (const [i, { node }] of passage.ends.entries()) {
        const target = steps.ends[i]!;
        c.bypass(node, target === null ? at : reshape(target, node.name));
      }
      c.patch.remove(move.id);
      return true;
    },
  };
}

export const reduceRank = definePass<ReduceRankOptions>({
  name: "reduce-rank",
  family: "legalise",
  summary: "Moves axes with tensors of as few axes as the target takes",
  doc: `Patches of images and videos are taken apart and put together by a Reshape to six or eight axes, a Transpose and
a Reshape back; window attention does the same. Compilers for NPUs stop at five or six axes. Axes that stay neighbours in
their order move as one, and axes of length 1 not at all, so most of these need fewer axes than they are written with.
Where that does not suffice, several Transposes do it, each of which brings together as many neighbours as it can: two for
any six axes taken five at a time.
Values are moved, not computed: outputs are the same to the bit.

Left alone, with the reason: axes that something other than a change of shape makes or reads, and lengths that a constant
target of Reshape cannot say. Part of builds for targets with a limit below eight axes.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      maxRank: {
        anyOf: [{ type: "integer", minimum: 3 }, { type: "null" }],
        default: null,
        description: "Highest rank of a tensor; null takes the target's.",
      },
    },
  },
  version: 1,
  run(graph, options, ctx) {
    const most = options.maxRank ?? ctx.target?.shapes.maxRank ?? null;
    if (most === null) return;
    const refused = new Map<string, string>();
    rewriteToFixedPoint(graph, [mergeAxes(most, refused)], ctx, "reduce-rank");
    for (const [node, why] of refused) ctx.decide({ node, kind: "skipped", rule: "merge-axes", why });
  },
});
