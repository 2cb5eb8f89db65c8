import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { PortType } from "../runtime/index.ts";
import { convert, denseFrom } from "./dense.ts";
import type { NestedNumbers } from "./sampling.ts";

/** Deepest nesting of a list; no tensor has more axes. */
const MAX_DEPTH = 16;

/** Shape and values of nested lists of finite numbers; `null` when they are ragged, too deep or hold anything else. */
function flatten(
  value: unknown,
  depth = 0,
): { readonly dims: readonly number[]; readonly values: readonly number[] } | null {
  if (typeof value === "number") return Number.isFinite(value) ? { dims: [], values: [value] } : null;
  if (!Array.isArray(value) || depth >= MAX_DEPTH) return null;
  const values: number[] = [];
  let inner: readonly number[] = [];
  for (const [i, item] of value.entries()) {
    const part = flatten(item, depth + 1);
    if (part === null || (i > 0 && part.dims.join() !== inner.join())) return null;
    inner = part.dims;
    for (const v of part.values) values.push(v);
  }
  return { dims: [value.length, ...inner], values };
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
  const flat = flatten(value) ?? bad("no regular list of numbers");
  return fitted(condition, port, denseFrom("f64", flat.dims, flat.values));
}

/** An array with the batch axis a port wants, in its dtype. Fails with CONDITION_VALUE_INVALID. */
export function fitted(condition: string, port: PortType, d: Dense): Dense {
  const rank = port.shape.length;
  const dims = d.dims.length === rank - 1 ? [1, ...d.dims] : d.dims;
  const fits =
    dims.length === rank &&
    !dims.includes(0) &&
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
