import { DTYPES, elementCount } from "../../ir/dtype.ts";
import type { Graph, ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import { narrowFloat } from "../../targets/lower/weights.ts";
import type { PassContext } from "../pass.ts";
import { type HalfType, isNamed } from "./islands.ts";

/** True when a reader also has an integer constant of at most 8 bits: the float is its scale, which has to stay. */
function isScale(graph: Graph, id: ValueId): boolean {
  return graph.users(id).some((u) =>
    graph.node(u).inputs.some((i) => {
      const t = graph.constant(i);
      return t !== null && DTYPES[t.dtype].bits <= 8 && t.dtype !== "bool" && t.dtype !== "string";
    }),
  );
}

/** Which constants {@link storeHalf} narrows, and to what. */
export interface StorageRules {
  readonly type: HalfType;
  /** Constants with fewer elements stay fp32. */
  readonly minElements: number;
  /** So do those that a node of this name or operator reads. */
  readonly exclude: RegExp | null;
}

/** Stores float32 constants in the half type, each behind a Cast that the runtime folds when it loads the model. */
export function storeHalf(
  graph: Graph,
  ctx: PassContext,
  { type, minElements, exclude }: StorageRules,
): void {
  const patch = new PatchBuilder(graph, `convert-float/${type}-storage`);
  let count = 0;
  let before = 0;
  let kept = 0;
  for (const v of graph.values()) {
    const t = graph.constant(v.id);
    if (t === null || t.dtype !== "f32" || elementCount(t.dims) < minElements) continue;
    if (graph.isOutput(v.id) || graph.users(v.id).length === 0 || isScale(graph, v.id)) continue;
    if (graph.users(v.id).some((u) => isNamed(exclude, graph.node(u)))) {
      kept++;
      continue;
    }
    const { value } = narrowFloat(patch, t, type, `w${v.id}`);
    patch.redirect(v.id, value).drop(v.id);
    count++;
    before += tensorBytes(t);
  }
  patch.apply();
  if (kept > 0) {
    const why = "the recipe keeps what reads it in fp32";
    ctx.decide({ node: "", kind: "skipped", rule: "asked", why, count: kept });
  }
  if (count === 0) return;
  const rule = `${type}-storage`;
  ctx.decide({
    node: "",
    kind: "applied",
    rule,
    why: "weights are stored narrow and widened when the model loads; arithmetic is fp32",
    from: "f32",
    to: type,
    count,
    bytesBefore: before,
    bytesAfter: before / 2,
  });
}
