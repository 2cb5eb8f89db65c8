import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { PortType } from "../runtime/index.ts";
import { convert, denseFrom } from "./dense.ts";
import type { NestedNumbers } from "./sampling.ts";

/** Shape and values of nested lists; `null` when they are ragged. */
export function flatten(value: NestedNumbers): { readonly dims: number[]; readonly values: number[] } | null {
  if (typeof value === "number") return { dims: [], values: [value] };
  const parts = value.map(flatten);
  const first = parts[0];
  if (first === undefined) return { dims: [0], values: [] };
  const values: number[] = [];
  for (const p of parts) {
    if (p === null || first === null || p.dims.join() !== first.dims.join()) return null;
    for (const v of p.values) values.push(v);
  }
  return first === null ? null : { dims: [parts.length, ...first.dims], values };
}

/**
 * Given numbers as an array of a port's dtype and rank. A missing batch axis is added: `0` becomes `[1]` for a port of
 * rank 1. Fails with CONDITION_VALUE_INVALID.
 */
export function portArray(condition: string, port: PortType, value: NestedNumbers): Dense {
  const bad = (found: string): never =>
    fail("CONDITION_VALUE_INVALID", {
      condition,
      input: port.name,
      found,
      expected: `${port.dtype}[${port.shape.join(", ")}]`,
    });
  const flat = flatten(value) ?? bad("a list whose parts differ in length");
  if (flat.values.some((v) => typeof v !== "number" || !Number.isFinite(v)))
    bad("a list with things that are no numbers");
  return fitted(condition, port, denseFrom("f64", flat.dims, flat.values));
}

/** An array with the batch axis a port wants, in its dtype. Fails with CONDITION_VALUE_INVALID. */
export function fitted(condition: string, port: PortType, d: Dense): Dense {
  const rank = port.shape.length;
  const dims = d.dims.length === rank - 1 ? [1, ...d.dims] : d.dims;
  const fits =
    dims.length === rank &&
    dims.every((n, k) => k === 0 || typeof port.shape[k] === "string" || port.shape[k] === n);
  if (!fits) {
    fail("CONDITION_VALUE_INVALID", {
      condition,
      input: port.name,
      found: `${d.dtype}[${d.dims.join(", ")}]`,
      expected: `${port.dtype}[${port.shape.join(", ")}]`,
    });
  }
  return convert({ ...d, dims }, port.dtype);
}
