import type { ValueId } from "../graph.ts";
import { means } from "../pattern/checks.ts";
import { intOr } from "../pattern/constant.ts";
import { any, constant, made, match, type NodePattern, oneOf, op } from "../pattern/index.ts";
import { type Draft, MADE, type Workshop } from "./draft.ts";
import type { ActivationPart, ModulationPart, NormPart } from "./types.ts";
import { layersBehind, ordered } from "./walk.ts";

/** Registers layers, norms and non-linearities so that larger patterns can ask for them. */
export function addSimpleParts(w: Workshop): void {
  for (const l of w.linears.list) {
    const spatial = l.kernel.length > 0;
    const kinds = !spatial
      ? [MADE.matrix]
      : l.kernel.every((k) => k === 1)
        ? [MADE.conv, MADE.pointwise]
        : [MADE.conv];
    for (const kind of kinds) w.layerOf.set(w.register({ kind, input: l.input, output: l.output }), l);
  }
  for (const match of w.structures.norms) {
    const draft: Draft<NormPart> = w.add({
      kind: "norm",
      nodes: new Set(match.nodes),
      naming: null,
      input: match.x,
      output: match.output,
      finish: (base) => ({ ...base, kind: "norm", match }),
    });
    const node = w.flow.graph.producer(match.output);
    const activated = node !== undefined && node.domain !== "" && intOr(node, "activation", 0) === 1;
    const kind = activated ? MADE.activatedNorm : MADE.norm;
    w.draftOf.set(w.register({ kind, input: match.x, output: match.output }), draft as unknown as Draft);
  }
  for (const match of w.structures.activations) {
    const draft: Draft<ActivationPart> = w.add({
      kind: "activation",
      nodes: new Set(match.nodes),
      naming: null,
      input: match.x,
      output: match.output,
      finish: (base) => ({ ...base, kind: "activation", match }),
    });
    const part = w.register({ kind: MADE.activation, input: match.x, output: match.output });
    w.draftOf.set(part, draft as unknown as Draft);
  }
}

/** norm(x)·(1 + scale) + shift with scale and shift from the conditioning; also with scale alone as factor. */
function modulationPattern(w: Workshop): NodePattern {
  const fromConditioning = (v: ValueId): string | null =>
    w.isConditioning(v) ? null : "the factor or offset does not come from the conditioning";
  const normed = made(MADE.norm, any("x"), "norm");
  const factor = oneOf(
    op("Add", [any("scale", fromConditioning), constant(undefined, means(1))], { as: "plus-one" }),
    any("scale", fromConditioning),
  );
  return op("Add", [op("Mul", [normed, factor]), any("shift", fromConditioning)]);
}

/** Finds norms that the conditioning scales and shifts (adaLN, adaptive group norm, FiLM). */
export function addModulations(w: Workshop): void {
  const pattern = modulationPattern(w);
  for (const node of w.flow.graph.nodes()) {
    if (node.op !== "Add" || node.domain !== "") continue;
    const output = node.outputs[0];
    if (output === null || output === undefined || w.isConditioning(output)) continue;
    const m = match(w.scope, node, pattern);
    const part = m.ok ? m.part("norm") : undefined;
    const norm = part === undefined ? undefined : w.draftOf.get(part);
    if (!m.ok || norm === undefined) continue;
    const [scale, shift] = [m.value("scale"), m.value("shift")];
    const behind = layersBehind(w.flow, w.linears, scale);
    const linear = behind.layers.length === 1 ? behind.layers[0] : undefined;
    const draft: Draft<ModulationPart> = w.add({
      kind: "modulation",
      nodes: new Set(ordered(w.flow, [...m.nodes, ...norm.nodes])),
      naming: ordered(w.flow, [...norm.nodes]),
      input: m.value("x"),
      output,
      finish: (base, id) => ({
        ...base,
        kind: "modulation",
        norm: id(norm),
        scale,
        shift,
        plusOne: m.node("plus-one") !== undefined,
        linear: linear?.node.id ?? null,
      }),
    });
    w.normOf.set(draft as unknown as Draft, norm);
    w.modulatorOf.set(draft as unknown as Draft, linear?.node.id ?? null);
    w.draftOf.set(
      w.register({ kind: MADE.modulated, input: m.value("x"), output }),
      draft as unknown as Draft,
    );
  }
}
