import { type Graph, intAttr, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import type { Frozen } from "./path.ts";

/** Writes the lookups of frozen values. */
export interface Lookup {
  /** Rows of a value at what was fed; those of strangers are NaN. `null` where the axis of rows has an unknown length. */
  value(f: Frozen, rows: Float32Array, name: string): ValueId | null;
}

/** What lookups are made for. */
export interface LookupOptions {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly patch: PatchBuilder;
  /** Rows of every table. */
  readonly count: number;
  /** One number per row fed: the row of a table counted from 1, 0 for none. */
  readonly index: ValueId;
  /** Rows fed. */
  readonly fed: Dim;
  /** In front of the names of new nodes. */
  readonly prefix: string;
}

/** Lookups in tables by one index. */
export function createLookup(o: LookupOptions): Lookup {
  const { graph, shapes, patch, count, index, fed: own, prefix } = o;
  let fresh = 0;
  const node = (op: string, inputs: readonly ValueId[], attrs = {}): ValueId =>
    patch.node({ op, name: `${prefix}/rows.${op}${fresh++}`, inputs, attrs })[0];
  const i64 = (v: readonly number[]): ValueId => patch.constant(i64Tensor(v), `${prefix}.dims`);
  const expanded = new Map<string, ValueId | null>();

  /** The index with as many rows as a value has: one may serve a whole batch. */
  function indexFor(value: ValueId): ValueId | null {
    const rows = shapes.shape(value)![0]!;
    const key = String(rows);
    if (rows === own) return index;
    const known = expanded.get(key);
    if (known !== undefined) return known;
    let length: ValueId | null = null;
    if (typeof rows === "number") length = i64([rows]);
    else {
      const like = graph.inputs.find((i) => shapes.shape(i)?.[0] === rows);
      if (like !== undefined)
        length = node("Gather", [node("Shape", [like]), i64([0])], { axis: intAttr(0) });
    }
    const made = length === null ? null : node("Expand", [index, length]);
    expanded.set(key, made);
    return made;
  }

  return {
    value(f, rows, name) {
      const at = indexFor(f.value);
      if (at === null) return null;
      const width = rows.length / count;
      const filled = new Float32Array((count + 1) * width).fill(Number.NaN);
      filled.set(rows, width);
      const wide = f32Tensor(filled, [count + 1, ...f.rest]);
      const type = shapes.dtype(f.value)!;
      const table: Tensor = type === "f32" ? wide : castTensor(wide, type);
      const [out] = patch.node({
        op: "Gather",
        name: `${name}/frozen`,
        inputs: [patch.constant(table, `${name}.table`), at],
        attrs: { axis: intAttr(0) },
      });
      return out;
    },
  };
}
