import type { Axis, PruneAnalysis } from "../../ir/anatomy/groups/index.ts";

/** Units taken out of a graph, seen from its axes. */
export interface Removal {
  readonly units: ReadonlySet<number>;
  /** Indices that stay; `null` when the axis loses none or has an open length. */
  keep(axis: Axis): Int32Array | null;
  /** Length that is left; `null` for open lengths. */
  length(axis: Axis): number | null;
}

/** The removal of some units. */
export function removalOf(analysis: PruneAnalysis, units: ReadonlySet<number>): Removal {
  const known = new Map<Axis, { kept: Int32Array; all: number } | null>();
  const look = (axis: Axis) => {
    let found = known.get(axis);
    if (found === undefined) {
      const of = analysis.unitsOf(axis);
      found = null;
      if (of !== null && axis.length > 0) {
        const kept: number[] = [];
        for (const [i, u] of of.entries()) if (!units.has(u)) kept.push(i);
        found = { kept: Int32Array.from(kept), all: of.length };
      }
      known.set(axis, found);
    }
    return found;
  };
  return {
    units,
    keep(axis) {
      const found = look(axis);
      return found === null || found.kept.length === found.all ? null : found.kept;
    },
    length: (axis) => (axis.length === 0 ? 1 : (look(axis)?.kept.length ?? null)),
  };
}

/** True when an axis loses elements, also where other factors of it are open. */
export function touches(removal: Removal, axis: Axis): boolean {
  return axis.some((f) => removal.keep([f]) !== null);
}
