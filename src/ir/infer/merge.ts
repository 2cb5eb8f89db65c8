import { canonicalDim, dimSymbols, isUnknown, substitute } from "../dim.ts";
import type { Dim, Shape, ValueType } from "../types.ts";

/** Gives an axis of unknown length its symbol. */
export type Fresh = (axis: number) => Dim;

/** Which declared symbols mean something: those of the graph inputs. Exporters invent names for the others. */
export type KnownSymbols = ReadonlySet<string>;

function usable(d: Dim, known: KnownSymbols): boolean {
  return typeof d === "number" || (!isUnknown(d) && dimSymbols(d).every((s) => known.has(s)));
}

/** Declared type with canonical dims, in which names that no graph input has are fresh unknowns. */
export function cleanType(type: ValueType, known: KnownSymbols, fresh: Fresh): ValueType {
  switch (type.kind) {
    case "tensor":
    case "sparse":
      if (type.shape === null || type.shape.every((d) => typeof d === "number")) return type;
      return { ...type, shape: type.shape.map((d, i) => (usable(d, known) ? canonicalDim(d) : fresh(i))) };
    case "sequence":
    case "optional":
      return { kind: type.kind, element: cleanType(type.element, known, fresh) };
    case "map":
      return { ...type, value: cleanType(type.value, known, fresh) };
    case "opaque":
      return type;
  }
}

/** Type with symbols replaced by lengths. */
export function bindType(type: ValueType, bindings: Readonly<Record<string, Dim>>): ValueType {
  switch (type.kind) {
    case "tensor":
    case "sparse":
      return type.shape === null ? type : { ...type, shape: type.shape.map((d) => substitute(d, bindings)) };
    case "sequence":
    case "optional":
      return { kind: type.kind, element: bindType(type.element, bindings) };
    case "map":
      return { ...type, value: bindType(type.value, bindings) };
    case "opaque":
      return type;
  }
}

/** Adds the symbols of a type to `into`. */
export function collectSymbols(type: ValueType, into: Set<string>): void {
  switch (type.kind) {
    case "tensor":
    case "sparse":
      for (const d of type.shape ?? [])
        if (typeof d === "string" && !isUnknown(d)) for (const s of dimSymbols(d)) into.add(s);
      return;
    case "sequence":
    case "optional":
      collectSymbols(type.element, into);
      return;
    case "map":
      collectSymbols(type.value, into);
      return;
    case "opaque":
      return;
  }
}

function mergeShapes(inferred: Shape, declared: Shape, known: KnownSymbols): Shape | undefined {
  if (inferred === null || declared === null) return inferred ?? declared;
  if (inferred.length !== declared.length) return undefined;
  let out: Dim[] | null = null;
  for (let i = 0; i < inferred.length; i++) {
    const a = inferred[i]!;
    const b = declared[i]!;
    if (a === b) continue;
    if (typeof a === "number") {
      if (typeof b === "number") return undefined;
      continue;
    }
    const better = typeof b === "number" || (isUnknown(a) && usable(b, known));
    if (better) (out ??= [...inferred])[i] = canonicalDim(b);
  }
  return out ?? inferred;
}

/**
 * What inference and declaration say together; inference wins, declared lengths fill its unknowns. `undefined` when
 * they contradict each other.
 */
export function mergeTypes(
  inferred: ValueType,
  declared: ValueType,
  known: KnownSymbols,
): ValueType | undefined {
  if (inferred.kind === "tensor" || inferred.kind === "sparse") {
    if (declared.kind !== inferred.kind || declared.dtype !== inferred.dtype) return undefined;
    const shape = mergeShapes(inferred.shape, declared.shape, known);
    if (shape === undefined) return undefined;
    return shape === inferred.shape ? inferred : { ...inferred, shape };
  }
  if (inferred.kind === "sequence" || inferred.kind === "optional") {
    if (declared.kind !== inferred.kind) return undefined;
    const element = mergeTypes(inferred.element, declared.element, known);
    return element === undefined ? undefined : { kind: inferred.kind, element };
  }
  if (inferred.kind === "map") {
    if (declared.kind !== "map" || declared.key !== inferred.key) return undefined;
    const value = mergeTypes(inferred.value, declared.value, known);
    return value === undefined ? undefined : { ...inferred, value };
  }
  return declared.kind === "opaque" ? inferred : undefined;
}

/** Text of a type for messages and dumps: `f32[batch,4,height,width]`, `seq(i64[])`. Unknown rank is `[...]`. */
export function typeText(type: ValueType | null): string {
  if (type === null) return "?";
  switch (type.kind) {
    case "tensor":
      return `${type.dtype}${type.shape === null ? "[...]" : `[${type.shape.join(",")}]`}`;
    case "sparse":
      return `sparse(${type.dtype}${type.shape === null ? "[...]" : `[${type.shape.join(",")}]`})`;
    case "sequence":
      return `seq(${typeText(type.element)})`;
    case "optional":
      return `optional(${typeText(type.element)})`;
    case "map":
      return `map(${type.key},${typeText(type.value)})`;
    case "opaque":
      return `opaque(${type.domain},${type.name})`;
  }
}
