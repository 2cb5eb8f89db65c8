import { uniformOf } from "../../../ir/constants.ts";
import { dtypeOf } from "../../../ir/dtype.ts";
import type { Node, ValueId } from "../../../ir/graph.ts";
import { attrInt } from "../../../ir/graph.ts";
import { sameShape } from "../../../ir/pattern/checks.ts";
import type { RewriteContext, Rule } from "../../rewrite.ts";
import { sliceOf } from "./reshape.ts";

function used(c: RewriteContext, node: Node, output: number): boolean {
  const id = node.outputs[output];
  return id !== null && id !== undefined && (c.graph.isOutput(id) || c.graph.users(id).length > 0);
}

function bypassIf(
  name: string,
  ops: readonly string[],
  when: (c: RewriteContext, node: Node) => boolean,
): Rule {
  return {
    name,
    ops,
    apply(c, node) {
      if (node.inputs[0] == null || node.outputs[0] == null) return false;
      if (!when(c, node) || !c.claim(node)) return false;
      c.bypass(node, node.inputs[0]);
      return true;
    },
  };
}

/** The number every element of a value has, whatever its shape: of constants, filled tensors and sums of those. */
function uniform(c: RewriteContext, id: ValueId | null | undefined, depth = 4): number | null {
  if (id === null || id === undefined) return null;
  const constant = c.graph.constant(id);
  if (constant !== null) return uniformOf(constant);
  const node = c.graph.producer(id);
  if (node === undefined || node.domain !== "" || depth === 0) return null;
  if (node.op === "ConstantOfShape") {
    const value = node.attrs.get("value");
    return value?.kind === "tensor" ? uniformOf(value.value) : 0;
  }
  if (node.op === "Expand" || node.op === "Reshape") return uniform(c, node.inputs[0], depth - 1);
  if (node.op !== "Mul" && node.op !== "Add") return null;
  const a = uniform(c, node.inputs[0], depth - 1);
  const b = a === null ? null : uniform(c, node.inputs[1], depth - 1);
  return a === null || b === null ? null : Math.fround(node.op === "Mul" ? a * b : a + b);
}

/** All elements of input `i` are `value`, and it does not enlarge the result. */
function neutral(c: RewriteContext, node: Node, i: number, value: number): boolean {
  return (
    uniform(c, node.inputs[i]) === value && sameShape(c.shape(node.inputs[1 - i]), c.shape(node.outputs[0]))
  );
}

/** Operators whose right operand leaves the left one as it is; `commutes` allows either side. */
const NEUTRAL = [
  { op: "Add", value: 0, commutes: true },
  { op: "Sub", value: 0, commutes: false },
  { op: "Mul", value: 1, commutes: true },
  { op: "Div", value: 1, commutes: false },
  { op: "Pow", value: 1, commutes: false },
] as const;

const arithmetic: readonly Rule[] = NEUTRAL.map(({ op, value, commutes }) => ({
  name: `${op.toLowerCase()}-${value}`,
  ops: [op],
  apply(c, node) {
    const keep = neutral(c, node, 1, value) ? 0 : commutes && neutral(c, node, 0, value) ? 1 : null;
    if (keep === null || !c.claim(node)) return false;
    c.bypass(node, node.inputs[keep]!);
    return true;
  },
}));

export const identityRules: readonly Rule[] = [
  bypassIf("identity", ["Identity"], (c, node) => {
    // An Identity that names a graph output after an input or a constant has to stay.
    if (!c.graph.isOutput(node.outputs[0]!)) return true;
    return c.graph.producer(node.inputs[0]) !== undefined && !c.graph.isOutput(node.inputs[0]!);
  }),
  bypassIf("dropout-inference", ["Dropout"], (c, node) => {
    const training = node.inputs[2] == null ? 0 : c.scalar(node, 2);
    return training === 0 && !used(c, node, 1);
  }),
  bypassIf("cast-noop", ["Cast"], (c, node) => {
    const to = attrInt(node, "to");
    const from = c.shapes.dtype(node.inputs[0]!);
    return to !== undefined && from !== null && dtypeOf(to) === from;
  }),
  bypassIf("concat-single", ["Concat", "Sum", "Max", "Min", "Mean"], (_, node) => node.inputs.length === 1),
  bypassIf("tile-ones", ["Tile"], (c, node) => c.ints(node, 1)?.every((r) => r === 1) ?? false),
  bypassIf(
    "pad-zeros",
    ["Pad"],
    (c, node) => c.opset >= 11 && (c.ints(node, 1)?.every((p) => p === 0) ?? false),
  ),
  bypassIf("slice-all", ["Slice"], (c, node) => {
    if (c.opset < 10) return false;
    const shape = c.shape(node.inputs[0]);
    if (shape === null) return false;
    const cut = sliceOf(c, node, shape);
    if (cut !== null) return cut.start === 0 && cut.end === shape[cut.axis];
    const steps = node.inputs[4] == null ? [1] : c.ints(node, 4);
    const starts = c.ints(node, 1);
    return (
      sameShape(shape, c.shape(node.outputs[0])) &&
      (steps?.every((s) => s === 1) ?? false) &&
      (starts?.every((s) => s === 0) ?? false)
    );
  }),
  ...arithmetic,
];
