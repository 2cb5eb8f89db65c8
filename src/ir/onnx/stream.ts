import type { FileHandle } from "node:fs/promises";
import type { Tensor, TensorReader } from "../tensor.ts";
import { openData, readRange } from "./file-reader.ts";

/** Tensor evaluations started ahead of the one being written, and the bytes they may hold together. */
const AHEAD = 4;
const AHEAD_BYTES = 2 ** 28;
/** Piece size when a file range is copied. */
const COPY_BYTES = 2 ** 22;

/** One payload to stream. */
export interface Payload {
  readonly tensor: Tensor;
  readonly bytes: number;
}

/**
 * Yields the bytes of tensors strictly in order, in pieces. File ranges are copied piecewise and never held whole;
 * other tensors are evaluated a few ahead so that workers stay busy while the disk writes.
 */
export async function* streamTensors<P extends Payload>(
  payloads: readonly P[],
  reader: TensorReader,
): AsyncGenerator<{ readonly payload: P; readonly piece: Uint8Array; readonly last: boolean }> {
  const started = new Map<number, Promise<Uint8Array>>();
  let next = 0;
  let held = 0;
  const startAhead = (current: number): void => {
    next = Math.max(next, current);
    for (; next < payloads.length && started.size < AHEAD; next++) {
      const { tensor, bytes } = payloads[next]!;
      if (tensor.source.kind !== "derived") {
        if (next - current >= AHEAD) break;
        continue;
      }
      if (started.size > 0 && held + bytes > AHEAD_BYTES) break;
      held += bytes;
      const job = reader.read(tensor);
      // The failure is reported when its turn comes; until then it must not count as unhandled.
      job.catch(() => {});
      started.set(next, job);
    }
  };
  let open: { readonly path: string; readonly handle: FileHandle } | null = null as {
    readonly path: string;
    readonly handle: FileHandle;
  } | null;
  try {
    for (const [i, payload] of payloads.entries()) {
      startAhead(i);
      const { tensor, bytes } = payload;
      const { source } = tensor;
      if (source.kind === "file") {
        if (open?.path !== source.path) {
          await open?.handle.close();
          open = null;
          open = { path: source.path, handle: await openData(source.path, source.offset, source.length) };
        }
        for (let at = 0; at < bytes; at += COPY_BYTES) {
          const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, bytes - at));
          await readRange(open.handle, source.path, piece, source.offset + at);
          yield { payload, piece, last: at + COPY_BYTES >= bytes };
        }
        continue;
      }
      const piece = await (started.get(i) ?? reader.read(tensor));
      if (started.delete(i)) held -= bytes;
      if (piece.length !== bytes)
        throw new Error(
          `a ${tensor.dtype}[${tensor.dims}] tensor gave ${piece.length} bytes, expected ${bytes}`,
        );
      yield { payload, piece, last: true };
    }
  } finally {
    await open?.handle.close();
    await Promise.allSettled(started.values());
  }
}
