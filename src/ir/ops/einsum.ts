import type { Dim } from "../types.ts";
import { commonDType } from "./elementwise.ts";
import { broadcastDim, count, MANY } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec } from "./spec.ts";

/** Labels of each operand and of the result; `.` stands for the axes of an ellipsis. */
export interface Equation {
  readonly operands: readonly string[];
  readonly result: string;
}

/** Reads `ij,jk->ik`; the implicit form orders the labels that occur once alphabetically. `null` when malformed. */
export function parseEquation(text: string): Equation | null {
  const [left, right, ...more] = text.replaceAll(" ", "").replaceAll("...", ".").split("->");
  if (left === undefined || more.length > 0 || !/^[A-Za-z.,]*$/.test(left)) return null;
  const operands = left.split(",");
  if (operands.some((o) => o.indexOf(".") !== o.lastIndexOf("."))) return null;
  if (right !== undefined) return /^[A-Za-z.]*$/.test(right) ? { operands, result: right } : null;
  const all = operands.join("");
  const once = [...new Set(all)].filter((c) => c !== "." && all.indexOf(c) === all.lastIndexOf(c));
  return { operands, result: (all.includes(".") ? "." : "") + once.sort().join("") };
}

/** The order of axes that an equation of one operand gives a tensor, as Transpose writes it; `null` where it does more. */
export function axisOrder(text: string, rank: number): readonly number[] | null {
  const equation = parseEquation(text);
  const [from] = equation?.operands ?? [];
  if (equation === null || from === undefined || equation.operands.length !== 1) return null;
  const axes: number[][] = [];
  let axis = 0;
  for (const label of from) {
    const span = label === "." ? rank - from.length + 1 : 1;
    axes.push(Array.from({ length: span }, () => axis++));
  }
  const distinct = new Set(from).size === from.length;
  const order = [...equation.result].flatMap((label) => axes[from.indexOf(label)] ?? [-1]);
  return distinct &&
    axis === rank &&
    order.length === rank &&
    new Set(order).size === rank &&
    !order.includes(-1)
    ? order
    : null;
}

function inferEinsum(ctx: InferContext) {
  const inputs = ctx.node.inputs.map((_, i) => i);
  const dtype = commonDType(ctx, inputs);
  const equation = parseEquation(ctx.str("equation", ""));
  if (equation === null || equation.operands.length !== inputs.length)
    return ctx.invalid(`equation "${ctx.str("equation", "")}" does not fit ${inputs.length} operands`);
  const labels = new Map<string, Dim>();
  let ellipsis: Dim[] = [];
  for (const [i, text] of equation.operands.entries()) {
    const shape = ctx.shape(i);
    if (shape === null) return ctx.set(0, dtype, null);
    const hidden = shape.length - text.replace(".", "").length;
    if (hidden < 0 || (hidden > 0 && !text.includes(".")))
      return ctx.invalid(`operand "${text}" does not fit rank ${shape.length}`);
    let axis = 0;
    for (const label of text) {
      if (label === ".") {
        const dims = shape.slice(axis, axis + hidden);
        axis += hidden;
        ellipsis = joinRight(ctx, ellipsis, dims);
        continue;
      }
      const d = shape[axis++]!;
      const known = labels.get(label);
      const joined = known === undefined ? d : broadcastDim(ctx, known, d);
      if (joined === null) return ctx.invalid(`label ${label} has lengths ${known} and ${d}`);
      labels.set(label, joined);
    }
  }
  const out: Dim[] = [];
  for (const label of equation.result) {
    if (label === ".") out.push(...ellipsis);
    else {
      const d = labels.get(label);
      if (d === undefined) return ctx.invalid(`label ${label} of the result is in no operand`);
      out.push(d);
    }
  }
  ctx.set(0, dtype, out);
}

function joinRight(ctx: InferContext, a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const [long, short] = a.length >= b.length ? [a, b] : [b, a];
  const shift = long.length - short.length;
  return long.map((d, i) => (i < shift ? d : (broadcastDim(ctx, d, short[i - shift]!) ?? d)));
}

/** One multiplication per operand and one addition for every point of the label space. */
function einsumFlops(c: CostContext): number {
  const attr = c.node.attrs.get("equation");
  const equation = attr?.kind === "string" ? parseEquation(new TextDecoder().decode(attr.value)) : null;
  if (equation === null) return 0;
  const sizes = new Map<string, number>();
  for (const [i, text] of equation.operands.entries()) {
    const shape = c.inputs[i];
    if (shape === null || shape === undefined) return 0;
    const hidden = shape.length - text.replace(".", "").length;
    let axis = 0;
    for (const label of text) {
      const span = label === "." ? hidden : 1;
      const size = shape.slice(axis, axis + span).reduce((a, b) => a * b, 1);
      axis += span;
      sizes.set(label, Math.max(sizes.get(label) ?? 1, size));
    }
  }
  return [...sizes.values()].reduce((a, b) => a * b, 1) * Math.max(1, equation.operands.length);
}

/** Einsum. */
export const einsumOps: readonly OpSpec[] = [
  {
    op: "Einsum",
    domain: "",
    versions: [12],
    inputs: count(1, MANY),
    outputs: count(1),
    infer: inferEinsum,
    flops: einsumFlops,
  },
];
