import { fail } from "../../diagnostics/index.ts";
import { irVersionOf } from "../../ir/build.ts";
import type { Model } from "../../ir/graph.ts";
import { definePass, type PassContext } from "../pass.ts";
import { type GraphPlan, type Obstacle, planOpset } from "./opset/plan.ts";

/** Opset written when neither the options nor a target say which. */
const DEFAULT_OPSET = 21;
/** Operators of older opsets are defined differently (broadcast attributes, optional outputs): not converted. */
const OLDEST = 7;
/** Highest IR version that onnxruntime 1.30 loads. */
const NEWEST_IR = 13;

/**
 * IR version a file of this opset is stamped with: the one released with it, at least 8 from opset 15 on, more only
 * when the model uses functions (8) or overloads (10).
 */
export function stampedIrVersion(model: Model, opset: number): number {
  const overloaded = model.functions.some((f) => f.overload !== "");
  const needs = overloaded ? 10 : model.functions.length > 0 ? 8 : 3;
  return Math.min(NEWEST_IR, Math.max(irVersionOf(opset), needs));
}

/**
 * Brings a model up to an opset, or changes nothing and says what is in the way. Returns true when the model now
 * imports `opset` or a newer one. Fails with TARGET_OPSET_UNSUPPORTED when it is newer than the target loads.
 */
export function raiseOpset(opset: number, ctx: PassContext): boolean {
  const { model } = ctx;
  const from = model.opsets.get("") ?? opset;
  const max = ctx.target?.opset.max;
  if (max !== undefined && from > max)
    fail("TARGET_OPSET_UNSUPPORTED", { target: ctx.target!.id, found: from, max });
  const stamp = (version: number): void => {
    const ir = stampedIrVersion(model, version);
    if (ir === model.irVersion) return;
    ctx.decide({
      node: "",
      kind: "applied",
      rule: "ir-version",
      from: String(model.irVersion),
      to: String(ir),
    });
    model.irVersion = ir;
    model.graph.version++;
  };
  if (from >= opset) {
    stamp(from);
    return true;
  }
  const skip = (node: string, why: string): void =>
    ctx.decide({ node, kind: "skipped", rule: "opset", why, from: String(from), to: String(opset) });
  if (from < OLDEST) {
    skip("", `operators of opsets below ${OLDEST} are defined differently; re-export the model`);
    return false;
  }
  const obstacles: Obstacle[] = [];
  const plans: GraphPlan[] = [];
  for (const f of model.functions) {
    const own = f.opsets.get("");
    if (own !== undefined && own < opset) plans.push(...planOpset(f.body, null, own, opset, obstacles));
  }
  plans.push(...planOpset(model.graph, ctx.shapes(), from, opset, obstacles));
  if (obstacles.length > 0) {
    for (const o of obstacles) skip(o.node, `${o.op}: ${o.why}; the model keeps opset ${from}`);
    stamp(from);
    return false;
  }
  const counts = new Map<string, number>();
  for (const { patch, converted } of plans) {
    patch.apply();
    for (const [op, n] of converted) counts.set(op, (counts.get(op) ?? 0) + n);
  }
  model.functions = model.functions.map((f) => {
    const own = f.opsets.get("");
    return own === undefined || own >= opset ? f : { ...f, opsets: new Map(f.opsets).set("", opset) };
  });
  model.opsets = new Map(model.opsets).set("", opset);
  // Edits of subgraphs and of the version do not pass through the main graph, but what is known of it depends on them.
  model.graph.version++;
  ctx.decide({ node: "", kind: "applied", rule: "opset", from: String(from), to: String(opset) });
  for (const [op, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
    ctx.decide({ node: "", kind: "applied", rule: "opset-edit", to: op, count });
  stamp(opset);
  return true;
}

export const convertOpset = definePass<{ opset: number | null }>({
  name: "convert-opset",
  family: "legalise",
  summary: "Brings the model up to the opset the target is written in",
  doc: `Every node goes through the versions of its operator one by one. Most only widen what is allowed; the others
(axes, bounds, pads and splits that became inputs, Softmax over one axis, Upsample, the coordinate rules of Resize,
per-channel GroupNormalization …) are edited. Subgraphs and functions are converted with the graph.

Either everything can be converted or nothing is: otherwise the model keeps its opset and the report names every node in
the way. Models of opset 6 and older, and newer ones than asked for, are left as they are. The IR version is stamped with
the one released with the opset, never a newer one, because runtimes refuse files by that number.

Reference: ONNX operator changelog and versioning document.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      opset: {
        type: ["integer", "null"],
        minimum: OLDEST,
        maximum: 26,
        default: null,
        description: `Opset to reach; null takes the target's, or ${DEFAULT_OPSET} without a target.`,
      },
    },
  },
  version: 1,
  run(_graph, { opset }, ctx) {
    raiseOpset(opset ?? ctx.target?.opset.emit ?? DEFAULT_OPSET, ctx);
  },
});
