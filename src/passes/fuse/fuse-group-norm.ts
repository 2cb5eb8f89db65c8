import { elementCount } from "../../ir/dtype.ts";
import { floatAttr, intAttr, intsAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { matchActivation, readActivationOperator } from "../../ir/pattern/activation.ts";
import type { MatchScope } from "../../ir/pattern/constant.ts";
import type { Outcome } from "../../ir/pattern/match.ts";
import { matchGroupNorm, type NormMatch } from "../../ir/pattern/norm.ts";
import { readNormOperator } from "../../ir/pattern/norm-operator.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { groupProblem } from "../../targets/fused-shapes.ts";
import { definePass, type PassContext } from "../pass.ts";
import { type Fusable, fuseMatches, importContrib, parameterVector } from "./driver.ts";

/** Options of `fuse-group-norm`. */
export interface FuseGroupNormOptions {
  readonly spelling: "GroupNormalization" | "com.microsoft.GroupNorm";
  /** Of the contributed operator, as are the following. */
  readonly layout: "channels-last" | "channels-first";
  readonly evenChannels: boolean;
  readonly groupMax: number | null;
}

/** A normalisation with the SiLU that is its only use. */
interface Activated extends Fusable {
  readonly norm: NormMatch;
  readonly silu: boolean;
}

/** The SiLU that reads a value and is all that does; `null` when there is none. */
function siluBehind(scope: MatchScope, value: ValueId): Fusable | null {
  const { graph } = scope;
  if (graph.isOutput(value)) return null;
  const users = graph.users(value);
  for (const id of users) {
    const user = graph.node(id);
    const operator = readActivationOperator(user);
    const found = operator.ok ? operator : matchActivation(scope, user, ["silu"]);
    if (!found.ok || found.value.kind !== "silu" || found.value.x !== value) continue;
    if (found.value.escapes.length > 0 || users.some((u) => !found.value.nodes.includes(u))) continue;
    return found.value;
  }
  return null;
}

/** A group normalisation in any form, with its SiLU. */
function matchActivated(scope: MatchScope, node: Node): Outcome<Activated> {
  const operator = node.op === "GroupNormalization" && node.domain === "";
  const found = operator ? readNormOperator(scope, node) : matchGroupNorm(scope, node);
  if (!found.ok) return found;
  const norm = found.value;
  if (operator && (norm.scale === null || norm.bias === null))
    return { ok: false, why: "its scale or bias is computed", node: node.id };
  const silu = siluBehind(scope, norm.output);
  return {
    ok: true,
    value: {
      norm,
      silu: silu !== null,
      nodes: [...norm.nodes, ...(silu?.nodes ?? [])],
      escapes: norm.escapes,
      output: silu?.output ?? norm.output,
    },
  };
}

/** Channels of a match, or why it cannot be one operator. */
function channelsOf(m: NormMatch, ctx: PassContext): number | { readonly why: string } {
  const channels = ctx.shapes().shape(m.x)?.[1];
  if (typeof channels !== "number" || m.groups === null) return { why: "the number of channels is unknown" };
  for (const c of [m.scale, m.bias])
    if (c !== null && elementCount(c.dims) !== channels)
      return { why: "scale or bias is not one per channel" };
  return channels;
}

/** GroupNormalization of opset 21. */
function standard(patch: PatchBuilder, m: NormMatch, node: Node, ctx: PassContext) {
  const channels = channelsOf(m, ctx);
  const dtype = ctx.shapes().dtype(m.x);
  if (typeof channels === "object") return channels;
  if (dtype === null) return { why: "its element type is unknown" };
  const vector = (c: NormMatch["scale"], fill: number, name: string) =>
    patch.constant(parameterVector(c, channels, dtype, fill), `${node.name}_${name}`);
  return patch.node({
    op: "GroupNormalization",
    name: node.name,
    inputs: [m.x, vector(m.scale, 1, "scale"), vector(m.bias, 0, "bias")],
    attrs: { num_groups: intAttr(m.groups!), epsilon: floatAttr(m.epsilon) },
  })[0];
}

/** Order of axes that puts channels last, and its inverse, by rank; sequences get an axis of length 1 besides. */
const CHANNELS_LAST: Readonly<
  Record<number, { readonly to: readonly number[]; readonly from: readonly number[] }>
> = {
  3: { to: [0, 2, 1], from: [0, 2, 1] },
  4: { to: [0, 2, 3, 1], from: [0, 3, 1, 2] },
};

/** onnxruntime's GroupNorm, between Transposes where its kernel reads channels last. */
function contributed(
  patch: PatchBuilder,
  m: Activated,
  { node, ctx, options }: { node: Node; ctx: PassContext; options: FuseGroupNormOptions },
) {
  const { norm } = m;
  const channels = channelsOf(norm, ctx);
  if (typeof channels === "object") return channels;
  const dtype = ctx.shapes().dtype(norm.x);
  if (dtype !== "f32" && dtype !== "f16")
    return { why: `there is no kernel for ${dtype ?? "unknown types"}` };
  const { evenChannels, groupMax } = options;
  const limits = { evenChannels, ...(groupMax !== null && { groupMax }) };
  const rank = ctx.shapes().shape(norm.x)!.length;
  const why = groupProblem(limits, { rank: rank === 3 ? 4 : rank, channels, groups: norm.groups! });
  if (why !== null) return { why };
  const { to, from } = CHANNELS_LAST[rank]!;
  const channelsLast = options.layout === "channels-last";
  const turn = (x: ValueId, perm: readonly number[], name: string): ValueId =>
    channelsLast
      ? patch.node({
          op: "Transpose",
          name: `${node.name}_${name}`,
          inputs: [x],
          attrs: { perm: intsAttr(perm) },
        })[0]
      : x;
  const reshape = (x: ValueId, dims: readonly number[], name: string): ValueId => {
    if (rank === 4) return x;
    const shape = patch.constant(i64Tensor(dims), `${node.name}_${name}_shape`);
    return patch.node({ op: "Reshape", name: `${node.name}_${name}`, inputs: [x, shape] })[0];
  };
  const vector = (c: NormMatch["scale"], fill: number, name: string): ValueId =>
    patch.constant(parameterVector(c, channels, "f32", fill), `${node.name}_${name}`);
  const [y] = patch.node({
    op: "GroupNorm",
    domain: "com.microsoft",
    name: node.name,
    inputs: [
      reshape(turn(norm.x, to, "channels_last"), [0, 0, 1, -1], "image"),
      vector(norm.scale, 1, "gamma"),
      vector(norm.bias, 0, "beta"),
    ],
    attrs: {
      groups: intAttr(norm.groups!),
      epsilon: floatAttr(norm.epsilon),
      activation: intAttr(m.silu ? 1 : 0),
      channels_last: intAttr(channelsLast ? 1 : 0),
    },
  });
  return turn(reshape(y, [0, 0, -1], "sequence"), from, "channels_first");
}

export const fuseGroupNorm = definePass<FuseGroupNormOptions>({
  name: "fuse-group-norm",
  family: "fuse",
  summary: "Replaces group normalisation spelled through InstanceNormalization by one operator",
  doc: `PyTorch's exporter writes Reshape, InstanceNormalization, Reshape, Mul, Add. Targets whose compilers know
GroupNormalization (opset 21, one scale per channel) get it as one node. Runtimes that would only unfold it again into some
thirty primitives keep the exporter's form: that is the target's choice, not this pass's.

The spelling \`com.microsoft.GroupNorm\` is onnxruntime's operator with kernels on GPUs alone. It takes a SiLU that follows
with it, and its factor and offset stay fp32 in half-precision graphs. Where the kernel reads channels last it stands
between two Transposes; sequences [N, C, L] become images of width 1. A shape that the
kernel does not take, by the options that legalisation sets for a target, keeps the exporter's form, with the reason.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      spelling: {
        enum: ["GroupNormalization", "com.microsoft.GroupNorm"],
        default: "GroupNormalization",
        description: "Operator to write; the standard one needs opset 21.",
      },
      layout: {
        enum: ["channels-last", "channels-first"],
        default: "channels-last",
        description: "Order of axes the contributed operator's kernel reads.",
      },
      evenChannels: {
        type: "boolean",
        default: true,
        description: "Whether that kernel wants an even number of channels per group.",
      },
      groupMax: {
        type: ["integer", "null"],
        minimum: 1,
        default: 512,
        description: "Most channels per group that kernel takes; null: any number.",
      },
    },
  },
  version: 2,
  run(graph, options, ctx) {
    const { spelling } = options;
    if (spelling === "com.microsoft.GroupNorm") {
      const label = `fuse-group-norm/${spelling}`;
      const count = fuseMatches(graph, ctx, label, matchActivated, (patch, m, node) =>
        contributed(patch, m, { node, ctx, options }),
      );
      if (count > 0) importContrib(ctx.model);
      return;
    }
    if ((ctx.model.opsets.get("") ?? 1) < 21) {
      ctx.decide({
        node: "",
        kind: "skipped",
        rule: "fuse-group-norm",
        why: "the model's opset is below 21",
      });
      return;
    }
    fuseMatches(graph, ctx, "fuse-group-norm", matchGroupNorm, (patch, m, node) =>
      standard(patch, m, node, ctx),
    );
  },
});
