import { graphCost } from "../../ir/cost.ts";
import { type Model, type Node, opKey } from "../../ir/graph.ts";
import type { TensorReader } from "../../ir/tensor.ts";
import type { Target } from "../target.ts";
import { loadConstants } from "./constants.ts";
import { isDequantize, isIntegerOperator, isQuantize, whyFloat } from "./pairs.ts";
import { countPartitions } from "./partition.ts";
import { RULES } from "./rules/index.ts";
import type { CheckFinding, Finding, NodeVerdict, Rule, Severity, TargetCheck, Verdict } from "./types.ts";
import { type CheckView, makeView, type ViewOptions } from "./view.ts";

/** Rules a target is checked with, in the order of the table. */
function rulesFor(target: Target): readonly Rule[] {
  return RULES.filter((r) => r.applies(target));
}

/** What a node is called: its name, or that of its first output where it has none. */
function nameOf(view: CheckView, node: Node): string {
  const out = node.outputs.find((o) => o !== null);
  return node.name !== "" || out === undefined || out === null ? node.name : view.graph.value(out).name;
}

/** Where a node runs by itself, before rules place it elsewhere. */
function ownVerdict(view: CheckView, node: Node, target: Target): { verdict: Verdict; why: string | null } {
  if (isIntegerOperator(node)) return { verdict: "quantized", why: null };
  if (isQuantize(node) || isDequantize(node)) {
    const around = isDequantize(node) ? view.readers(node.outputs[0]) : [view.producer(node.inputs[0])];
    // The scales of a weight may stand behind a conversion of their own.
    const read = around.flatMap((n) =>
      isDequantize(node) && n !== undefined && isDequantize(n) ? [...view.readers(n.outputs[0])] : [n],
    );
    const used = read.some(
      (n) => n !== undefined && !isDequantize(n) && whyFloat(view, n, target.limits) === null,
    );
    return used
      ? { verdict: "quantized", why: null }
      : { verdict: "float", why: "a conversion that stands alone" };
  }
  const why = whyFloat(view, node, target.limits);
  return why === null ? { verdict: "quantized", why: null } : { verdict: "float", why };
}

function verdictsOf(
  view: CheckView,
  target: Target,
  found: readonly (Finding & { rule: string })[],
): NodeVerdict[] {
  const placed = new Map<Node, Finding & { rule: string }>();
  for (const f of found) {
    if (f.node === null || f.places === undefined) continue;
    if (placed.get(f.node)?.places !== "leaves") placed.set(f.node, f);
  }
  return view.nodes.map((node) => {
    const at = placed.get(node);
    const own = ownVerdict(view, node, target);
    const verdict = at?.places ?? own.verdict;
    const why = at === undefined ? own.why : `${at.why} (${at.rule})`;
    return { node: nameOf(view, node), op: opKey(node), verdict, why };
  });
}

function flopsOf(
  view: CheckView,
  nodes: readonly NodeVerdict[],
  bindings: ViewOptions["bindings"],
): TargetCheck["flops"] {
  const open = view.graph.inputs.some((id) => view.shape(id)?.every((d) => typeof d === "number") !== true);
  if (open) return null;
  const cost = graphCost(view.model, { bindings: bindings ?? {}, shapes: view.shapes });
  let [total, away] = [0, 0];
  for (const [i, node] of view.nodes.entries()) {
    const flops = cost.nodes.get(node.id)?.flops ?? 0;
    total += flops;
    if (nodes[i]!.verdict === "leaves") away += flops;
  }
  return { total, share: total === 0 ? 1 : (total - away) / total };
}

function tally<K extends string>(keys: readonly K[], items: readonly K[]): Record<K, number> {
  const out = Object.fromEntries(keys.map((k) => [k, 0])) as Record<K, number>;
  for (const i of items) out[i]++;
  return out;
}

/** Checks one view: every rule that applies, then where each node runs. Pure. */
export function checkView(view: CheckView, target: Target, bindings?: ViewOptions["bindings"]): TargetCheck {
  const found = rulesFor(target).flatMap((rule) =>
    rule.find(view, target).map((f) => ({ ...f, rule: rule.id, severity: rule.severity })),
  );
  const nodes = verdictsOf(view, target, found);
  const byNode = new Map(view.nodes.map((n, i) => [n, nodes[i]!.verdict]));
  const findings = found.map(
    (f): CheckFinding => ({
      rule: f.rule,
      severity: f.severity,
      node: f.node === null ? "" : nameOf(view, f.node),
      op: f.node === null ? "" : opKey(f.node),
      why: f.why,
    }),
  );
  return {
    target: target.id,
    findings,
    counts: tally<Severity>(
      ["reject", "slow", "numeric"],
      findings.map((f) => f.severity),
    ),
    nodes,
    verdicts: tally<Verdict>(
      ["quantized", "float", "leaves"],
      nodes.map((n) => n.verdict),
    ),
    partitions: countPartitions(view, (n) => byNode.get(n) === "leaves"),
    flops: flopsOf(view, nodes, bindings),
  };
}

/** What {@link checkModel} takes besides the model and the target. */
export interface CheckOptions extends Omit<ViewOptions, "constants"> {
  /** Reads scales, zero points and quantized weights; without one only constants at hand are compared. */
  readonly reader?: TensorReader;
}

/**
 * Checks a model against targets: what they refuse, what runs slowly or with other numbers than meant, and where each
 * node runs. Reads quantized weights and their parameters, and float weights only for targets that skip zeros. Errors:
 * those of the reader.
 */
export async function checkModel(
  model: Model,
  targets: readonly Target[],
  options: CheckOptions = {},
): Promise<TargetCheck[]> {
  const weights = targets.some((t) => t.sparsity.fast.length > 0);
  const constants = await loadConstants(model, { reader: options.reader ?? null, weights });
  const view = makeView(model, { ...options, constants });
  return targets.map((t) => checkView(view, t, options.bindings));
}
