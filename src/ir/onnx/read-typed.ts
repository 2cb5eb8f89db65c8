import type { DType } from "../dtype.ts";
import type { TensorSource } from "../tensor.ts";
import type { Cursor } from "./cursor.ts";
import { INLINE_BYTES } from "./limits.ts";
import { type TypedField, varintWidth } from "./typed.ts";

/** Consecutive fields with the same tag, data of one tensor. */
export interface Run {
  readonly tag: number;
  readonly start: number;
  end: number;
}

/** Turns typed data fields into `raw_data` layout; a single packed run of floats is it already and is only located. */
export function typedData(
  c: Cursor,
  runs: readonly Run[],
  typed: TypedField,
  dtype: DType,
  bytes: number,
  invalid: (problem: string) => never,
): TensorSource {
  const wrong = (found: number): never =>
    invalid(`of type ${dtype} needs ${bytes} bytes, its ${typed.field}_data holds ${found}`);
  const only = runs.length === 1 && runs[0]!.tag === typed.packed ? runs[0]! : null;
  if (typed.fixed > 0 && only !== null) {
    c.seek(only.start);
    c.tag();
    const length = c.length();
    if (c.position + length === only.end) {
      if (length !== bytes) wrong(length);
      return c.range(c.position, length, INLINE_BYTES);
    }
  }
  // A varint takes at least one byte of the file, so this cannot ask for more than eight times what is there.
  const room = runs.reduce((sum, r) => sum + r.end - r.start, 0) * 8;
  if (bytes > room) wrong(room);
  c.charge(bytes);
  const out = new Uint8Array(bytes);
  const view = new DataView(out.buffer);
  const width = typed.fixed === 0 ? varintWidth(dtype) : typed.fixed;
  let at = 0;
  const element = (): void => {
    if (at + width > bytes) wrong(at + width);
    if (typed.fixed > 0) {
      for (let k = 0; k < width; k += 4) view.setUint32(at + k, c.fixed32(), true);
    } else {
      c.words();
      if (width === 8) {
        view.setInt32(at, c.low, true);
        view.setInt32(at + 4, c.high, true);
      } else if (width === 4) view.setInt32(at, c.low, true);
      else if (width === 2) view.setInt16(at, c.low, true);
      else view.setInt8(at, c.low);
    }
    at += width;
  };
  for (const run of runs) {
    c.seek(run.start);
    while (c.position < run.end) {
      c.tag();
      if (run.tag === typed.packed) {
        const inner = c.enter();
        const end = c.end;
        while (c.position < end) element();
        if (c.position > end) c.malformed("an element runs past the end of its field");
        c.leave(inner);
      } else element();
    }
  }
  if (at !== bytes) wrong(at);
  return { kind: "inline", bytes: out };
}
