import { denseFrom, numbersOf, rows } from "../../calibrate/dense.ts";
import { elementCount, isFloat } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { ValueId } from "../../ir/graph.ts";
import type { PassContext } from "../pass.ts";
import type { FrozenPath } from "./path.ts";
import { differs, type PathInput, type Rows, runPath, SAME_ROW, type SymbolLengths } from "./tables.ts";

/** A set of conditions: per input, one row each. */
export interface ConditionRows {
  readonly count: number;
  readonly inputs: ReadonlyMap<ValueId, Dense>;
}

/** Largest difference that counts as none, per input: a share of its largest element; integers are compared exactly. */
export function limitOf(d: Dense, tolerance: number): number {
  if (!isFloat(d.dtype)) return 0.5;
  return Math.max(tolerance * numbersOf(d).reduce((m, v) => Math.max(m, Math.abs(v)), 0), Number.MIN_VALUE);
}

/** Largest distance of two rows over all inputs, in units of each input's limit. */
function distance(all: ConditionRows, tolerance: number, a: number, b: number): number {
  let most = 0;
  for (const d of all.inputs.values()) {
    const [x, y] = [numbersOf(rows(d, a, a + 1)), numbersOf(rows(d, b, b + 1))];
    const far = x.reduce((m, v, i) => Math.max(m, Math.abs(v - y[i]!)), 0);
    most = Math.max(most, far / limitOf(d, tolerance));
  }
  return most;
}

function select(all: ConditionRows, picked: readonly number[]): ConditionRows {
  const inputs = new Map<ValueId, Dense>();
  for (const [value, d] of all.inputs) {
    const each = d.bytes.length / d.dims[0]!;
    const bytes = new Uint8Array(each * picked.length);
    for (const [i, at] of picked.entries()) bytes.set(d.bytes.subarray(at * each, (at + 1) * each), i * each);
    inputs.set(value, { dtype: d.dtype, dims: [picked.length, ...d.dims.slice(1)], bytes });
  }
  return { count: picked.length, inputs };
}

/** Each condition once, in the order they come; \`null\` where two differ and cannot be told apart. */
export function distinct(all: ConditionRows, tolerance: number): ConditionRows | null {
  const picked: number[] = [];
  for (let i = 0; i < all.count; i++) {
    const near = picked.map((p) => distance(all, tolerance, p, i));
    if (near.some((d) => d > 0.01 && d < 2)) return null;
    if (near.every((d) => d >= 2)) picked.push(i);
  }
  return select(all, picked);
}

/** Rows of a condition set fed at once: as many as a fixed batch has, the last one repeated. */
function piece(all: ConditionRows, from: number, size: number): ConditionRows {
  return select(
    all,
    Array.from({ length: size }, (_, i) => Math.min(all.count - 1, from + i)),
  );
}

/**
 * Runs a path on every condition and checks that rows depend on their own condition alone: by itself and together with
 * others it must come out the same. Returns the name of the first value where it does not.
 */
export async function conditionTables(
  path: FrozenPath,
  inputs: readonly PathInput[],
  all: ConditionRows,
  use: { readonly lengths: Readonly<Record<string, number>>; readonly ctx: PassContext },
): Promise<Rows | { readonly mixed: string }> {
  const { ctx } = use;
  const [batch] = inputs[0]!.dims;
  const fixedBatch = typeof batch === "number" ? batch : null;
  const found = async (some: ConditionRows) => {
    const lengths: SymbolLengths = (s) => (s === batch ? some.count : use.lengths[s]!);
    const feeds = inputs.map((input) => ({ input, data: some.inputs.get(input.value)! }));
    return await runPath(path, feeds, lengths, ctx);
  };
  const out = new Map(
    path.frontier.map((f) => [f.value, new Float32Array(all.count * elementCount(f.rest))] as const),
  );
  const size = fixedBatch ?? all.count;
  for (let from = 0; from < all.count; from += size) {
    const some = await found(piece(all, from, size));
    for (const { value, rest } of path.frontier) {
      const width = elementCount(rest);
      const count = Math.min(size, all.count - from);
      out.get(value)!.set(some.get(value)!.subarray(0, count * width), from * width);
    }
  }
  for (const i of new Set([0, all.count - 1])) {
    const copies = Array.from({ length: fixedBatch ?? 1 }, () => i);
    const alone = await found(select(all, copies));
    for (const { value, rest } of path.frontier) {
      const width = elementCount(rest);
      const table = out.get(value)!;
      const limit = SAME_ROW * table.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      if (differs(alone.get(value)!.subarray(0, width), table.subarray(i * width, (i + 1) * width), limit))
        return { mixed: ctx.model.graph.value(value).name };
    }
  }
  return out;
}

/** Rows of class labels. */
export function classRows(input: PathInput, classes: readonly number[]): ConditionRows {
  const data = denseFrom(input.dtype, [classes.length], Float64Array.from(classes));
  return { count: classes.length, inputs: new Map([[input.value, data]]) };
}
