import { addDim, equalDim } from "../../dim.ts";
import { attrInts } from "../../graph.ts";
import { type Axes, type Axis, axisLength, identical } from "./ledger.ts";
import { from0, frozen, int, integers, outputShape, type Rule, type Rules, type Site } from "./site.ts";

/**
 * A computed target is rebuilt from the lengths of the input, one -1, and entries of the old target that no removal
 * touches. False when an axis with elements needs more than that.
 */
function rebuildable(from: Axes, to: Axes): boolean {
  const open = to.filter((a) => axisLength(a) === null && !from.some((b) => identical(a, b)));
  return open.filter((a) => a.some((f) => typeof f.length === "number")).length <= 1;
}

/** Lays the elements out anew; factors are cut where an axis is. */
const reshape: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  if (x === null || shape === null) return null;
  const to = s.ledger.carve(x.flat(), shape);
  if (to === null) return null;
  const target = s.node.inputs[1];
  const shaped = s.graph.producer(target);
  const computed = target !== null && target !== undefined && s.graph.constant(target) === null;
  // A shape read off a value follows that value by itself.
  const follows = computed && shaped?.op === "Shape" && shaped.inputs[0] !== null;
  if (computed && !follows && !rebuildable(x, to)) {
    s.ledger.freeze(
      [...x.flat(), ...to.flat()],
      "the target of a Reshape is computed from more than its input",
    );
  } else if (s.node.op === "Reshape") s.fix({ kind: "reshape", from: x, to });
  return [to];
};

const transpose: Rule = (s) => {
  const x = s.axes(0);
  if (x === null) return null;
  const perm = attrInts(s.node, "perm") ?? x.map((_, i) => x.length - 1 - i);
  return [perm.map((p) => x[p]!)];
};

/** Drops or adds axes of length 1: what is left keeps its order. */
const squeezed: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  if (x === null || shape === null) return null;
  const rest = x.filter((a) => a.length > 0);
  let at = 0;
  const out = shape.map((d): Axis => (d === 1 ? [] : (rest[at++] ?? [])));
  return at === rest.length && out.every((a, i) => shape[i] === 1 || a.length > 0) ? [out] : null;
};

/** Elements of the parts follow each other in the whole. */
function joined(s: Site, parts: readonly Axis[], why: string): Axis {
  const lengths = parts.map(axisLength);
  if (lengths.some((n) => n === null)) {
    for (const p of parts) s.ledger.freeze(p, why);
    return s.ledger.axis(
      parts.flatMap((p) => (p.length === 0 ? [1] : p.map((f) => f.length))).reduce(addDim, 0),
    );
  }
  const axis = s.ledger.axis((lengths as number[]).reduce((a, b) => a + b, 0));
  const [whole] = axis;
  let start = 0;
  for (const [i, part] of parts.entries()) {
    const count = lengths[i]!;
    if (whole !== undefined && part.length > 0) s.ledger.spans.push({ whole, start, parts: part });
    else if (whole !== undefined) s.ledger.freezes.push({ factor: whole, start, count, why });
    start += count;
  }
  return axis;
}

const concat: Rule = (s) => {
  const parts = s.node.inputs.map((_, i) => s.axes(i));
  if (parts.some((p) => p === null)) return null;
  const all = parts as Axes[];
  const rank = all[0]!.length;
  const axis = from0(int(s, "axis", 0), rank);
  if (all.length === 1) return [all[0]!];
  return [
    all[0]!.map((first, i): Axis => {
      if (i === axis)
        return joined(
          s,
          all.map((a) => a[i]!),
          "joined with a single element or an open length",
        );
      for (const other of all.slice(1))
        s.ledger.same(first, other[i]!, "joined beside an axis cut differently");
      return first;
    }),
  ];
};

const split: Rule = (s) => {
  const x = s.axes(0);
  if (x === null) return null;
  const axis = from0(int(s, "axis", 0), x.length);
  const shapes = s.node.outputs.map((_, i) => outputShape(s, i));
  if (shapes.some((d) => d === null)) return null;
  const whole = s.ledger.whole(x[axis]!);
  let start = 0;
  const parts = shapes.map((shape): Axis => {
    const n = shape![axis]!;
    const part = s.ledger.axis(n);
    if (whole === null || typeof n !== "number") s.ledger.freeze(part, "split at an open position");
    else {
      if (part.length > 0) s.ledger.spans.push({ whole, start, parts: part });
      else s.ledger.freezes.push({ factor: whole, start, count: n, why: "a part of a single element" });
      start += n;
    }
    return part;
  });
  s.fix({ kind: "split", parts });
  return parts.map((part) => x.map((a, i) => (i === axis ? part : a)));
};

/** One constant range per sliced axis; anything else is not followed. */
const slice: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  const starts = integers(s, 1, "starts");
  const axes = integers(s, 3, "axes") ?? starts?.map((_, i) => i);
  const steps = integers(s, 4, "steps");
  if (x === null || shape === null) return null;
  const out = x.map((a, i): Axis => {
    const n = shape[i]!;
    const k = axes?.findIndex((at) => from0(at, x.length) === i) ?? -1;
    if (axes !== undefined && k < 0) return a;
    const whole = s.ledger.whole(a);
    const start = starts?.[k];
    const simple = start !== undefined && (steps?.[k] ?? 1) === 1 && typeof n === "number" && whole !== null;
    if (!simple || n === 1 || starts!.length > 1) {
      s.ledger.freeze(a, "a Slice that is not one constant range");
      return frozen(s, [n], "a Slice that is not one constant range")[0]!;
    }
    const from = Math.min(from0(start, whole.length as number), whole.length as number);
    const part = s.ledger.axis(n);
    s.ledger.spans.push({ whole, start: Math.max(0, from), parts: part });
    s.fix({ kind: "slice", axis: i, of: [whole], start: Math.max(0, from), part });
    return part;
  });
  return [out];
};

/** Looks up along one axis: the looked-up axis stays whole. */
const gather: Rule = (s) => {
  const x = s.axes(0);
  const at = s.axes(1);
  const shape = outputShape(s);
  if (x === null || at === null || shape === null) return null;
  const axis = from0(int(s, "axis", 0), x.length);
  s.ledger.freeze(x[axis]!, "looked up by index");
  const looked = shape.slice(axis, axis + at.length);
  return [[...x.slice(0, axis), ...frozen(s, looked, "looked up by index"), ...x.slice(axis + 1)]];
};

const expand: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  if (x === null || shape === null) return null;
  const to = shape.map((d, i): Axis => {
    const a = x[i - shape.length + x.length] ?? [];
    return a.length > 0 ? a : frozen(s, [d], "made by Expand")[0]!;
  });
  if (s.graph.constant(s.node.inputs[1]) === null) s.ledger.freeze(x.flat(), "expanded to a computed shape");
  s.fix({ kind: "expand", to });
  return [to];
};

/** Axes that keep their length pass; the others are new. */
const resized: Rule = (s) => {
  const x = s.axes(0);
  const shape = outputShape(s);
  const given = s.shapes.shape(s.node.inputs[0]!);
  if (x === null || shape === null || given === null || shape.length !== x.length) return null;
  // Sizes name the channels too, scales do not.
  const sizes = s.node.op === "Resize" && s.node.inputs[3] !== undefined && s.node.inputs[3] !== null;
  if (sizes) s.ledger.freeze(x.flat(), "resized to given sizes");
  return [
    shape.map((d, i) => (i < 2 && equalDim(d, given[i]!) ? x[i]! : frozen(s, [d], "a spatial axis")[0]!)),
  ];
};

/** Operators that move elements without computing. */
export const LAYOUT: Rules = {
  Reshape: reshape,
  Flatten: reshape,
  Transpose: transpose,
  Squeeze: squeezed,
  Unsqueeze: squeezed,
  Concat: concat,
  Split: split,
  Slice: slice,
  Gather: gather,
  Expand: expand,
  Resize: resized,
  Upsample: resized,
  MaxPool: resized,
  AveragePool: resized,
  GlobalAveragePool: resized,
  Pad: resized,
};
