import type { PruneGroup } from "../../ir/anatomy/groups/index.ts";
import { cutColumns, type Repaired, repairColumns } from "../../numeric/prune/repair.ts";
import type { PruneOptions } from "./options.ts";
import type { GroupReader } from "./readers.ts";

/** Most levels tried of one group. */
const LEVELS = 8;

/** One depth to which a group can be cut. */
export interface Level {
  /** Units that go. */
  readonly count: number;
  /** Error: relative to the readers' outputs as predicted, later in the currency of the allocation. */
  readonly harm: number;
  /** What it does to the network's output at each measured call, relative to the output there. */
  readonly byCall?: Float64Array;
}

/** A group with its units in order and the depths it can be cut to. */
export interface Cut {
  readonly group: PruneGroup;
  readonly readers: readonly GroupReader[] | null;
  readonly order: readonly number[];
  readonly levels: readonly Level[];
}

/** Counts of units that may go: what stays is a multiple of `align` channels, and at most the given share goes. */
export function countsOf(group: PruneGroup, o: Pick<PruneOptions, "align" | "most">): number[] {
  const n = group.units.length;
  const all: number[] = [];
  for (let k = 1; k <= Math.min(n - 1, Math.floor(n * o.most)); k++)
    if (((n - k) * group.width) % o.align === 0) all.push(k);
  if (all.length <= LEVELS) return all;
  return Array.from({ length: LEVELS }, (_, i) => all[Math.floor(((i + 1) * all.length) / LEVELS) - 1]!);
}

/** Columns that stay when the first units of an order go. */
function kept(reader: GroupReader, order: readonly number[], count: number): Int32Array {
  const gone = new Set<number>();
  for (const u of order.slice(0, count)) for (const c of reader.units[u]!) gone.add(c);
  return Int32Array.from(Array.from({ length: reader.reader.size }, (_, i) => i).filter((i) => !gone.has(i)));
}

/** What a reader becomes at a level. */
export function readerAt(
  reader: GroupReader,
  order: readonly number[],
  count: number,
  o: Pick<PruneOptions, "repair" | "damp">,
): Repaired {
  const keep = kept(reader, order, count);
  return o.repair ? repairColumns(reader.reader, keep, o.damp) : cutColumns(reader.reader, keep);
}

/** Levels with relative errors as predicted; without readers the share that goes stands for them. */
export function levelsOf(
  group: PruneGroup,
  readers: readonly GroupReader[] | null,
  order: readonly number[],
  o: PruneOptions,
): Level[] {
  const uniform = readers === null || o.allocate === "uniform";
  return countsOf(group, o).map((count) => ({
    count,
    harm: uniform
      ? (count / group.units.length) ** 2
      : readers.reduce(
          (sum, r) => sum + readerAt(r, order, count, o).noise / Math.max(r.signal, Number.MIN_VALUE),
          0,
        ),
  }));
}
