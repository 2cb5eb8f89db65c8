import type { Node, NodeId, ValueId } from "../graph.ts";
import { isScalar } from "../pattern/checks.ts";
import {
  any,
  chain,
  hole,
  made,
  match,
  type NodePattern,
  oneOf,
  op,
  type Pattern,
} from "../pattern/index.ts";
import { type Draft, MADE, type Workshop } from "./draft.ts";
import type { Linear } from "./linear.ts";
import type { ResBlockPart } from "./types.ts";
import { layersBehind, ordered } from "./walk.ts";

/** x + conv2(act(norm2(conv1(act(norm1(x))) + time))), shortcut and resampling included. */
function resBlockPattern(w: Workshop): NodePattern {
  const fromConditioning = (v: ValueId): string | null =>
    w.isConditioning(v) ? null : "what is added between the convolutions does not come from the conditioning";
  const x = any("x");
  const activated = (inner: Pattern, norm: string): Pattern =>
    oneOf(
      made(
        MADE.activation,
        oneOf(made(MADE.modulated, inner, `${norm}-modulated`), made(MADE.norm, inner, norm)),
        `act-${norm}`,
      ),
      made(MADE.activatedNorm, inner, norm),
    );
  const resample = (as: string): readonly NodePattern[] => [
    op(["Resize", "Upsample"], [hole], { rest: true, as }),
    op(["AveragePool", "MaxPool"], [hole], { as }),
  ];
  const first = made(MADE.conv, chain(resample("resize"), activated(x, "norm1"), 2), "conv1");
  const joined = oneOf(op("Add", [first, any("time", fromConditioning)], { as: "time-add" }), first);
  const second = made(MADE.conv, activated(joined, "norm2"), "conv2");
  const around = oneOf(
    made(MADE.conv, chain(resample("resize-x"), x, 2), "shortcut"),
    chain(resample("resize-x"), oneOf(made(MADE.conv, x, "shortcut"), x), 2),
  );
  return op("Add", [second, around]);
}

/** The division or multiplication by one number that may end a block. */
function scaleAfter(w: Workshop, value: ValueId): { node: Node; output: ValueId } | null {
  const users = w.flow.users(value);
  const node = users[0];
  const out = node?.outputs[0];
  if (users.length !== 1 || node === undefined || out === null || out === undefined) return null;
  if (node.domain !== "" || (node.op !== "Div" && node.op !== "Mul")) return null;
  const other = node.inputs[node.inputs[0] === value ? 1 : 0];
  if (other === null || other === undefined || isScalar(other, w.flow.scope) !== null) return null;
  return { node, output: out };
}

function samplesBy(node: Node | undefined): "up" | "down" | null {
  if (node === undefined) return null;
  return node.op === "Resize" || node.op === "Upsample" ? "up" : "down";
}

/** Finds residual blocks of convolutions. */
export function addResBlocks(w: Workshop): void {
  const pattern = resBlockPattern(w);
  for (const node of w.flow.graph.nodes()) {
    if (node.op !== "Add" || node.domain !== "") continue;
    const m = match(w.scope, node, pattern);
    if (!m.ok) continue;
    const layer = (name: string): Linear | undefined => {
      const part = m.part(name);
      return part === undefined ? undefined : w.layerOf.get(part);
    };
    const drafts = (name: string): Draft | undefined => {
      const part = m.part(name);
      return part === undefined ? undefined : w.draftOf.get(part);
    };
    const [conv1, conv2, shortcut] = [layer("conv1"), layer("conv2"), layer("shortcut")];
    const modulated = drafts("norm2-modulated");
    const norm1 = drafts("norm1");
    const norm2 = drafts("norm2") ?? (modulated === undefined ? undefined : w.normOf.get(modulated));
    const sum = node.outputs[0];
    if (conv1 === undefined || conv2 === undefined || norm1 === undefined || norm2 === undefined) continue;
    if (sum === null || sum === undefined) continue;
    const end = scaleAfter(w, sum);
    const timeValue = m.maybe("time") ?? (modulated === undefined ? undefined : scaleOf(w, modulated));
    const behind = timeValue === undefined ? null : layersBehind(w.flow, w.linears, timeValue);
    const time = behind?.layers.length === 1 ? behind.layers[0] : undefined;
    const nodes = new Set<NodeId>([
      ...m.nodes.map((n) => n.id),
      ...[conv1, conv2, shortcut, time].flatMap((l) => w.layerNodes(l)),
      ...(time === undefined ? [] : w.ids(behind?.nodes ?? [])),
      ...[norm1, norm2, modulated, drafts("act-norm1"), drafts("act-norm2")].flatMap((d) => [
        ...(d?.nodes ?? []),
      ]),
      ...(end === null ? [] : [end.node.id]),
    ]);
    w.name(conv1, "conv1");
    w.name(conv2, "conv2");
    w.name(shortcut, "shortcut");
    w.name(time, "time.proj");
    const own = [norm1, norm2];
    w.add<ResBlockPart>({
      kind: "resblock",
      nodes,
      naming: ordered(w.flow, [conv1.node, conv2.node]),
      input: m.value("x"),
      output: end?.output ?? sum,
      finish: (base, id) => ({
        ...base,
        kind: "resblock",
        conv1: conv1.node.id,
        conv2: conv2.node.id,
        shortcut: shortcut?.node.id ?? null,
        time: time?.node.id ?? null,
        timeForm: timeValue === undefined ? null : modulated === undefined ? "add" : "scale-shift",
        norm1: id(own[0]!),
        norm2: id(own[1]!),
        resamples: samplesBy(m.node("resize")) ?? samplesBy(m.node("resize-x")),
      }),
    });
  }
}

/** The conditioning that scales a modulated norm. */
function scaleOf(w: Workshop, modulated: Draft): ValueId | undefined {
  for (const id of modulated.nodes) {
    const node = w.flow.graph.node(id);
    const other = node.op === "Add" || node.op === "Mul" ? node.inputs : [];
    for (const v of other) if (v !== null && w.isConditioning(v)) return v;
  }
  return undefined;
}
