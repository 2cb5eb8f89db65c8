import { elementCount } from "../../ir/dtype.ts";
import type { Node, NodeId, ValueId } from "../../ir/graph.ts";
import { matchActivation, readActivationOperator } from "../../ir/pattern/activation.ts";
import { type ConstRef, constantOf, type MatchScope } from "../../ir/pattern/constant.ts";
import { escapes, type Outcome } from "../../ir/pattern/match.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { splitGeluProblem } from "../../targets/fused-shapes.ts";
import { definePass } from "../pass.ts";
import { type Fusable, fuseMatches, importContrib } from "./driver.ts";

/** Options of `fuse-split-gelu`. */
export interface FuseSplitGeluOptions {
  readonly widths: readonly number[] | null;
}

/** Value · GELU(gate), both halves of what a linear layer and its bias make. */
interface SplitGelu extends Fusable {
  readonly x: ValueId;
  readonly bias: ConstRef;
}

const isPlain = (node: Node | undefined, op: string): node is Node =>
  node !== undefined && node.domain === "" && node.op === op;

/** The erf GELU that makes a value, in one operator or written out. */
function geluOf(scope: MatchScope, value: ValueId) {
  const maker = scope.graph.producer(value);
  if (maker === undefined) return null;
  const operator = readActivationOperator(maker);
  const found = operator.ok ? operator : matchActivation(scope, maker, ["gelu"]);
  return found.ok && found.value.kind === "gelu" ? found.value : null;
}

/** The Split in two halves of the last axis whose outputs are these, in this order. */
function halving(scope: MatchScope, first: ValueId, second: ValueId): Node | null {
  const split = scope.graph.producer(first);
  const [a, b] = split?.outputs ?? [];
  if (!isPlain(split, "Split") || split.outputs.length !== 2 || a !== first || b !== second) return null;
  const whole = scope.shapes?.shape(split.inputs[0]!);
  const [left, right] = [scope.shapes?.shape(first), scope.shapes?.shape(second)];
  const width = whole?.at(-1);
  const halved = typeof width === "number" && left?.at(-1) === width / 2 && right?.at(-1) === width / 2;
  return halved && left?.length === whole?.length ? split : null;
}

/** The constant vector an Add adds along the last axis, and what it is added to. */
function biasOf(scope: MatchScope, add: Node | undefined): { bias: ConstRef; x: ValueId } | null {
  if (!isPlain(add, "Add")) return null;
  const width = scope.shapes?.shape(add.outputs[0]!)?.at(-1);
  for (const side of [0, 1]) {
    const [bias, x] = [constantOf(scope, add.inputs[side]), add.inputs[1 - side]];
    if (bias === null || x === null || x === undefined) continue;
    const { dims } = bias.tensor;
    if (dims.at(-1) === width && elementCount(dims) === width) return { bias, x };
  }
  return null;
}

function matchSplitGelu(scope: MatchScope, node: Node): Outcome<SplitGelu> | null {
  const output = node.outputs[0];
  if (!isPlain(node, "Mul") || output === null || output === undefined) return null;
  const no = (why: string) => ({ ok: false as const, why, node: node.id });
  for (const side of [0, 1]) {
    const [value, gated] = [node.inputs[side], node.inputs[1 - side]];
    const gelu = gated === null || gated === undefined ? null : geluOf(scope, gated);
    if (value === null || value === undefined || gelu === null) continue;
    const split = halving(scope, value, gelu.x);
    if (split === null) return no("its factors are not both halves of one value, the gate behind the other");
    const add = scope.graph.producer(split.inputs[0]!);
    const biased = biasOf(scope, add);
    if (biased === null) return no("there is no constant bias in front of the halves");
    const nodes: readonly NodeId[] = [node.id, ...gelu.nodes, split.id, add!.id];
    const members = nodes.map((id) => scope.graph.node(id));
    return { ok: true, value: { ...biased, nodes, escapes: escapes(scope, members, output), output } };
  }
  return null;
}

export const fuseSplitGelu = definePass<FuseSplitGeluOptions>({
  name: "fuse-split-gelu",
  family: "fuse",
  summary: "Replaces bias, halving and gating of a GEGLU feed-forward by BiasSplitGelu",
  doc: `A gated feed-forward (Shazeer, arXiv:2002.05202) multiplies one half of what its first layer makes by the GELU of
the other half. onnxruntime's GPU providers have one operator that adds the layer's bias, halves and gates, and so crosses
memory once instead of five times; it adds in the type of the data and computes the rest in fp32. The pass comes last in a
build, so that everything that prunes, factors or quantizes sees the feed-forward as it is.

Left alone, with the reason: widths without a kernel, which legalisation sets for a target, other ranks than [batch,
tokens, width], and values inside the pattern that something else reads. GELU by tanh, a gate in front of the value and
layers without a constant bias are not what the operator computes.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      widths: {
        type: ["array", "null"],
        items: { type: "integer", minimum: 2 },
        default: null,
        description: "Widths of both halves together that the kernel takes; null: any.",
      },
    },
  },
  version: 1,
  run(graph, { widths }, ctx) {
    const label = "fuse-split-gelu";
    const count = fuseMatches(graph, ctx, label, matchSplitGelu, (patch, m, node) => {
      const [shape, dtype] = [ctx.shapes().shape(m.x), ctx.shapes().dtype(m.x)];
      if (dtype !== "f32" && dtype !== "f16")
        return { why: `there is no kernel for ${dtype ?? "unknown types"}` };
      if (shape === null) return { why: "its rank is unknown" };
      const width = shape.at(-1);
      const why = splitGeluProblem(widths, { rank: shape.length, width });
      if (why !== null) return { why };
      if (typeof width !== "number") return { why: "its width is unknown" };
      const vector = castTensor(reshapeTensor(m.bias.tensor, [width]), dtype);
      const bias = patch.constant(vector, `${node.name}_bias`);
      return patch.node({
        op: "BiasSplitGelu",
        domain: "com.microsoft",
        name: node.name,
        inputs: [m.x, bias],
      })[0];
    });
    if (count > 0) importContrib(ctx.model);
  },
});
