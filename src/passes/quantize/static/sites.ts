import { type Anatomy, anatomy, type Layer } from "../../../ir/anatomy/index.ts";
import { elementCount } from "../../../ir/dtype.ts";
import type { Model } from "../../../ir/graph.ts";
import {
  attrFloat,
  attrInt,
  attrInts,
  attrString,
  type Graph,
  type Node,
  type NodeId,
  type ValueId,
} from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { Tensor } from "../../../ir/tensor.ts";
import { transposeTensor } from "../../../runtime/kernels/transpose.ts";
import { weightLayers } from "../layers.ts";
import { textLayers } from "./first-token.ts";

/** A layer that can run in 8 bits. */
export interface StaticLayer {
  readonly node: Node;
  readonly name: string;
  readonly kind: "conv" | "matmul";
  /** Weight as the integer operator reads it: `[N, C, ...taps]` for conv, `[K, N]` for matmul. */
  readonly weight: Tensor;
  readonly outAxis: number;
  readonly inAxis: number;
  readonly channels: number;
  readonly outputs: number;
  /** Constant bias of length N; `null` where there is none. */
  readonly bias: Tensor | null;
  /** The Add of the bias when it is a node of its own. */
  readonly biasNode: Node | null;
  readonly input: ValueId;
  /** What the layer makes, bias included. */
  readonly output: ValueId;
  readonly padded: boolean;
  /** The guard that options lifted; `null` where none applies. */
  readonly lifted: Guard | null;
}

/** Why a layer should stay float. */
type Guard = Omit<Left, "node">;

/** An activation that layers read, quantized once for all of them. */
export interface Site {
  readonly value: ValueId;
  readonly name: string;
  readonly axis: number;
  readonly channels: number;
  readonly kind: "conv" | "matmul";
  readonly padded: boolean;
  /** The first token of a text stays float, the others are quantized. */
  readonly rest: boolean;
  readonly layers: readonly StaticLayer[];
}

/** A layer that stays float, and why. */
export interface Left {
  readonly node: Node;
  readonly rule: string;
  readonly why: string;
}

/** What to look at. */
export interface SiteOptions {
  readonly match: RegExp | null;
  readonly exclude: RegExp | null;
  readonly minElements: number;
  readonly guards: boolean;
  /** Keys and values of cross-attention take part, their first token apart. */
  readonly firstToken?: boolean;
  /** Kinds of layers that are written at all; absent: both. */
  readonly kinds?: readonly StaticLayer["kind"][];
}

function isPadded(node: Node): boolean {
  const auto = attrString(node, "auto_pad") ?? "NOTSET";
  if (auto === "SAME_UPPER" || auto === "SAME_LOWER") return true;
  return (attrInts(node, "pads") ?? []).some((p) => p > 0);
}

function plainGemm(node: Node): boolean {
  return (
    (attrFloat(node, "alpha") ?? 1) === 1 &&
    (attrFloat(node, "beta") ?? 1) === 1 &&
    (attrInt(node, "transA") ?? 0) === 0
  );
}

function guardOf(layer: Layer, graph: Graph): Guard | null {
  if (layer.edge !== null)
    return {
      rule: "guard-edge",
      why: "first and last layers carry the sample itself: their activations stay float",
    };
  if (layer.conditioningOnly)
    return {
      rule: "guard-conditioning",
      why: "it depends on the timestep and conditions alone: a fraction of the work, and the most sensitive path",
    };
  if (graph.inputs.includes(layer.input))
    return { rule: "guard-input", why: "it reads a graph input: few tokens, with outliers" };
  return null;
}

/** Sites, layers left float, and the structure both come from. */
export interface Found {
  readonly sites: readonly Site[];
  readonly left: readonly Left[];
  readonly anatomy: Anatomy;
}

/** The bias as a vector of `n`, or why it is none: `undefined` when it is no constant of that length. */
function biasOf(graph: Graph, id: ValueId | null, n: number): Tensor | null | undefined {
  if (id === null) return null;
  const t = graph.constant(id);
  return t !== null && elementCount(t.dims) === n ? t : undefined;
}

/** Activations that can be quantized, each with its layers; everything else with the reason. */
export function findSites(model: Model, shapes: InferredShapes, o: SiteOptions): Found {
  const { graph } = model;
  const found = anatomy(model, shapes);
  const texts = o.firstToken === true ? textLayers(found) : new Set<NodeId>();
  const byValue = new Map<ValueId, StaticLayer[]>();
  const left: Left[] = [];
  for (const { node, role, tensor } of weightLayers(graph, shapes)) {
    const layer = found.layer(node.id);
    const leave = (rule: string, why: string): void => void left.push({ node, rule, why });
    if (layer === undefined || layer.node !== node.id) continue;
    if (o.match?.test(node.name) === false || o.exclude?.test(node.name) === true) {
      leave("selection", "its name is not selected by match and exclude");
      continue;
    }
    if (elementCount(tensor.dims) < o.minElements) {
      leave("min-elements", `it has fewer than ${o.minElements} elements`);
      continue;
    }
    const text = texts.has(node.id) && node.op === "MatMul";
    const guard = text ? null : guardOf(layer, graph);
    if (guard !== null && o.guards) {
      left.push({ node, ...guard });
      continue;
    }
    const conv = node.domain === "" && node.op === "Conv";
    const matmul = node.domain === "" && (node.op === "MatMul" || (node.op === "Gemm" && plainGemm(node)));
    if (
      (!conv && !matmul) ||
      role.groups !== 1 ||
      (matmul && tensor.dims.length !== 2) ||
      role.activation !== 0
    ) {
      leave("operator", "no integer form of it is written: grouped, transposed or batched");
      continue;
    }
    const kind = conv ? "conv" : "matmul";
    if (o.kinds?.includes(kind) === false) {
      leave(
        "number-family",
        `fp8 is taken in ${o.kinds.join(" and ")} layers only, and integers do not stand beside it`,
      );
      continue;
    }
    const outputs = tensor.dims[role.outAxis]!;
    const bias = biasOf(graph, layer.bias, outputs);
    if (bias === undefined) {
      leave("bias", "its bias is not a constant vector");
      continue;
    }
    const turned = matmul && role.outAxis === 0;
    const list = byValue.get(layer.input) ?? [];
    byValue.set(layer.input, list);
    list.push({
      node,
      name: node.name,
      kind,
      weight: turned ? transposeTensor(tensor, [1, 0]) : tensor,
      outAxis: conv ? 0 : 1,
      inAxis: conv ? 1 : 0,
      channels: tensor.dims[role.inAxis]!,
      outputs,
      bias,
      biasNode: layer.biasNode === null ? null : graph.node(layer.biasNode),
      input: layer.input,
      output: layer.output,
      padded: conv && isPadded(node),
      lifted: guard,
    });
  }
  const sites: Site[] = [];
  const groups = [
    { kind: "conv", rest: false },
    { kind: "matmul", rest: false },
    { kind: "matmul", rest: true },
  ] as const;
  for (const [value, layers] of byValue)
    for (const { kind, rest } of groups) {
      const of = layers.filter(
        (l) => l.kind === kind && rest === (texts.has(l.node.id) && kind === "matmul"),
      );
      if (of.length === 0) continue;
      const rank = shapes.shape(value)?.length ?? (kind === "conv" ? 4 : 3);
      sites.push({
        value,
        name: graph.value(value).name,
        axis: kind === "conv" ? 1 : rank - 1,
        channels: of[0]!.channels,
        kind,
        padded: of.some((l) => l.padded),
        rest,
        layers: of,
      });
    }
  return { sites, left, anatomy: found };
}
