import type { Axes, Axis, Fix, PruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import { numbersOf } from "../../ir/constants.ts";
import { isFloat } from "../../ir/dtype.ts";
import {
  type Attr,
  attrInt,
  attrInts,
  type Graph,
  intAttr,
  intsAttr,
  type Node,
  type ValueId,
} from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { type Removal, touches } from "./removal.ts";

/** A node being rewritten: its inputs and attributes so far. */
export interface Edit {
  readonly node: Node;
  readonly inputs: (ValueId | null)[];
  readonly attrs: Map<string, Attr>;
}

/** What a rewrite may use. */
export interface EditContext {
  readonly graph: Graph;
  readonly patch: PatchBuilder;
  readonly analysis: PruneAnalysis;
  readonly removal: Removal;
  /** Opset of the standard domain. */
  readonly opset: number;
  /** Integers computed from a length that the removal changes although it is open, such as batch times heads. */
  readonly moved: ReadonlySet<ValueId>;
}

type Of<K extends Fix["kind"]> = Extract<Fix, { kind: K }>;

const sameAxis = (a: Axis, b: Axis): boolean => a.length === b.length && a.every((f, i) => f === b[i]);

const isOpen = (a: Axis): boolean => a.some((f) => typeof f.length !== "number");

/** Everything computed from open lengths that the removal changes: clean graphs read a length wherever one is equal. */
export function movedLengths(
  graph: Graph,
  shapes: InferredShapes,
  analysis: PruneAnalysis,
  removal: Removal,
): Set<ValueId> {
  const moved = new Set<ValueId>();
  for (const node of graph.nodes()) {
    const [first] = node.inputs;
    const read =
      node.op === "Shape" && first !== null && first !== undefined ? analysis.values.get(first) : undefined;
    const starts = read?.some((a) => isOpen(a) && touches(removal, a)) ?? false;
    const goesOn = node.inputs.some((i) => i !== null && moved.has(i));
    if (!starts && !goesOn) continue;
    for (const out of node.outputs) if (out !== null && !isFloat(shapes.dtype(out) ?? "f32")) moved.add(out);
  }
  return moved;
}

/** Where the entries of a rebuilt target come from. */
type Entry = number | { readonly from: ValueId; readonly index: number };

/** Entries of a target that is computed: lengths where known, those of the input, one -1, else the old target's own. */
function entriesOf(edit: Edit, fix: Of<"reshape">, c: EditContext): Entry[] {
  const data = edit.inputs[0]!;
  const target = edit.inputs[1]!;
  const zero = (attrInt(edit.node, "allowzero") ?? 0) === 0;
  const source = (a: Axis): number => fix.from.findIndex((b) => sameAxis(a, b));
  const lost = fix.to.filter((a) => isOpen(a) && source(a) < 0);
  const free = lost.find((a) => touches(c.removal, a)) ?? lost[0];
  return fix.to.map((a, i): Entry => {
    if (!isOpen(a)) return c.removal.length(a)!;
    if (a === free) return -1;
    const at = source(a);
    if (at === i && zero) return 0;
    return at >= 0 ? { from: data, index: at } : { from: target, index: i };
  });
}

/** Builds a target out of entries, as a constant when it can be one. */
function targetOf(edit: Edit, entries: readonly Entry[], patch: PatchBuilder): ValueId {
  const name = `${edit.node.name}_kept`;
  if (entries.every((e) => typeof e === "number"))
    return patch.constant(i64Tensor(entries as number[]), `${name}_shape`);
  const shapes = new Map<ValueId, ValueId>();
  const parts = entries.map((e, i): ValueId => {
    if (typeof e === "number") return patch.constant(i64Tensor([e]), `${name}_length_${i}`);
    let vector = e.from;
    if (e.from === edit.inputs[0]) {
      vector =
        shapes.get(e.from) ?? patch.node({ op: "Shape", name: `${name}_lengths`, inputs: [e.from] })[0];
      shapes.set(e.from, vector);
    }
    const index = patch.constant(i64Tensor([e.index]), `${name}_index_${i}`);
    return patch.node({ op: "Gather", name: `${name}_length_${i}`, inputs: [vector, index] })[0];
  });
  return patch.node({ op: "Concat", name: `${name}_shape`, inputs: parts, attrs: { axis: intAttr(0) } })[0];
}

function reshape(edit: Edit, fix: Of<"reshape">, c: EditContext): void {
  const target = edit.node.inputs[1]!;
  const shaped = c.graph.producer(target);
  const read = shaped?.op === "Shape" ? shaped.inputs[0] : null;
  const followed = read === null || read === undefined ? undefined : c.analysis.values.get(read);
  const involved = [...fix.from, ...fix.to, ...(followed ?? [])];
  if (!c.moved.has(target) && !involved.some((a) => touches(c.removal, a))) return;
  const known = numbersOf(c.graph.constant(target));
  if (known !== null) {
    const next = known.map((old, i) => {
      const length = c.removal.length(fix.to[i]!);
      // 0 copies the length of the input, which is right as long as both axes stay equal.
      const stays = old < 0 || length === null || (old === 0 && sameAxis(fix.to[i]!, fix.from[i] ?? []));
      return stays ? old : length;
    });
    if (next.some((n, i) => n !== known[i]))
      edit.inputs[1] = c.patch.constant(i64Tensor(next), `${edit.node.name}_kept_shape`);
    return;
  }
  const follows =
    followed?.length === fix.to.length &&
    followed.every((a, i) => {
      const to = fix.to[i]!;
      if (!isOpen(a)) return c.removal.length(a) === c.removal.length(to);
      return sameAxis(a, to) || !(touches(c.removal, a) || touches(c.removal, to));
    });
  if (!follows) edit.inputs[1] = targetOf(edit, entriesOf(edit, fix, c), c.patch);
}

function split(edit: Edit, fix: Of<"split">, c: EditContext): void {
  if (!fix.parts.some((p) => touches(c.removal, p))) return;
  const lengths = fix.parts.map((p) => c.removal.length(p)!);
  if (c.opset < 13) {
    edit.attrs.set("split", intsAttr(lengths));
    return;
  }
  edit.inputs[1] = c.patch.constant(i64Tensor(lengths), `${edit.node.name}_kept_sizes`);
  edit.attrs.delete("num_outputs");
}

function slice(edit: Edit, fix: Of<"slice">, c: EditContext): void {
  if (!touches(c.removal, fix.of[0] === undefined ? [] : [fix.of[0]])) return;
  const keep = c.removal.keep(fix.of)!;
  const start = keep.filter((k) => k < fix.start).length;
  const end = start + c.removal.length(fix.part)!;
  if (attrInts(edit.node, "starts") !== undefined) {
    edit.attrs.set("starts", intsAttr([start]));
    edit.attrs.set("ends", intsAttr([end]));
    return;
  }
  edit.inputs[1] = c.patch.constant(i64Tensor([start]), `${edit.node.name}_kept_start`);
  edit.inputs[2] = c.patch.constant(i64Tensor([end]), `${edit.node.name}_kept_end`);
  edit.inputs[3] = c.patch.constant(i64Tensor([fix.axis]), `${edit.node.name}_kept_axis`);
}

function expand(edit: Edit, fix: Of<"expand">, c: EditContext): void {
  const known = numbersOf(c.graph.constant(edit.node.inputs[1]));
  if (known === null || !fix.to.some((a) => touches(c.removal, a))) return;
  const offset = fix.to.length - known.length;
  const next = known.map((old, i) => {
    const axis: Axes[number] = fix.to[i + offset]!;
    return old > 1 && touches(c.removal, axis) ? c.removal.length(axis)! : old;
  });
  edit.inputs[1] = c.patch.constant(i64Tensor(next), `${edit.node.name}_kept_shape`);
}

/** Rewrites what a node knows of the lengths of its axes. */
export function applyFix(edit: Edit, fix: Fix, c: EditContext): void {
  if (fix.kind === "reshape") reshape(edit, fix, c);
  else if (fix.kind === "split") split(edit, fix, c);
  else if (fix.kind === "slice") slice(edit, fix, c);
  else if (fix.kind === "expand") expand(edit, fix, c);
  else if (touches(c.removal, fix.axis)) edit.attrs.set(fix.attr, intAttr(c.removal.length(fix.axis)!));
}
