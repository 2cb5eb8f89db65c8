import { type Node, opKey } from "../graph.ts";
import { constantOf, floatOr, intOr, type MatchScope } from "./constant.ts";
import type { Outcome } from "./match.ts";
import type { NormMatch } from "./norm.ts";

/** How an operator that normalises is read: inputs of scale and bias, and what it is. */
const OPERATORS: Readonly<
  Record<string, { kind: NormMatch["kind"]; scale: number; bias: number; groups?: string; skip?: boolean }>
> = {
  LayerNormalization: { kind: "layer-norm", scale: 1, bias: 2 },
  RMSNormalization: { kind: "rms-norm", scale: 1, bias: -1 },
  SimplifiedLayerNormalization: { kind: "rms-norm", scale: 1, bias: -1 },
  "com.microsoft:SimplifiedLayerNormalization": { kind: "rms-norm", scale: 1, bias: -1 },
  GroupNormalization: { kind: "group-norm", scale: 1, bias: 2, groups: "num_groups" },
  InstanceNormalization: { kind: "instance-norm", scale: 1, bias: 2 },
  "com.microsoft:GroupNorm": { kind: "group-norm", scale: 1, bias: 2, groups: "groups" },
  "com.microsoft:SkipGroupNorm": { kind: "group-norm", scale: 1, bias: 2, groups: "groups" },
  "com.microsoft:SkipLayerNormalization": { kind: "layer-norm", scale: 2, bias: 3, skip: true },
  "com.microsoft:SkipSimplifiedLayerNormalization": { kind: "rms-norm", scale: 2, bias: -1, skip: true },
};

/** Reads a normalisation operator (standard or `com.microsoft`). */
export function readNormOperator(scope: MatchScope, node: Node): Outcome<NormMatch> {
  const row = OPERATORS[opKey(node)];
  const [x, output] = [node.inputs[0], node.outputs[0]];
  if (row === undefined || x === null || x === undefined || output === null || output === undefined)
    return { ok: false, why: `${node.op} is not a normalisation operator`, node: node.id };
  const rank = scope.shapes?.shape(x)?.length;
  const axis = intOr(node, "axis", -1);
  const from = rank === undefined ? axis : axis < 0 ? axis + rank : axis;
  const layer = row.kind === "layer-norm" || row.kind === "rms-norm";
  const axes = layer
    ? rank === undefined
      ? [from]
      : Array.from({ length: Math.max(0, rank - from) }, (_, i) => from + i)
    : [2];
  return {
    ok: true,
    value: {
      kind: row.kind,
      spelling: "op",
      x: row.skip === true ? (node.outputs[3] ?? x) : x,
      output,
      axes,
      epsilon: floatOr(node, "epsilon", 1e-5),
      scale: constantOf(scope, node.inputs[row.scale]),
      bias: row.bias < 0 ? null : constantOf(scope, node.inputs[row.bias]),
      groups: row.groups === undefined ? null : intOr(node, row.groups, 0),
      nodes: [node.id],
      escapes: [],
    },
  };
}
