import { constants } from "node:buffer";
import { type FileHandle, open } from "node:fs/promises";
import { fail } from "../../diagnostics/index.ts";
import type { Tensor, TensorReader } from "../tensor.ts";
import { systemProblem } from "./source.ts";

/** Bytes asked of the operating system at once; a single read stops at 2 GiB on every platform. */
const LARGEST_READ = 2 ** 28;

/** Reads a whole range of an open file into `target`. Fails with TENSOR_UNREADABLE when the file is too short. */
export async function readRange(
  handle: FileHandle,
  path: string,
  target: Uint8Array,
  offset: number,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const want = Math.min(LARGEST_READ, target.length - done);
    const { bytesRead } = await handle.read(target, done, want, offset + done);
    if (bytesRead === 0)
      fail("TENSOR_UNREADABLE", {
        file: path,
        offset,
        length: target.length,
        reason: `the file ends ${target.length - done} bytes early`,
      });
    done += bytesRead;
  }
}

/** Opens a data file. Fails with TENSOR_UNREADABLE. */
export async function openData(path: string, offset: number, length: number): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    return fail("TENSOR_UNREADABLE", { file: path, offset, length, reason: systemProblem(cause) }, cause);
  }
}

/**
 * A reader for tensors whose bytes exist already: inline ones and ranges of files. Derivations need the runtime's
 * reader. Fails with TENSOR_UNREADABLE, and with TENSOR_TOO_LARGE above the largest buffer there is.
 */
export function fileReader(): TensorReader {
  return {
    async read(tensor: Tensor): Promise<Uint8Array> {
      const { source } = tensor;
      switch (source.kind) {
        case "inline":
          return source.bytes;
        case "file": {
          if (source.length > constants.MAX_LENGTH)
            fail("TENSOR_TOO_LARGE", {
              tensor: `a ${tensor.dtype}[${tensor.dims}] tensor`,
              bytes: source.length,
              limit: constants.MAX_LENGTH,
            });
          const handle = await openData(source.path, source.offset, source.length);
          try {
            const out = new Uint8Array(source.length);
            await readRange(handle, source.path, out, source.offset);
            return out;
          } finally {
            await handle.close();
          }
        }
        case "strings":
          throw new Error("string tensors have no raw bytes");
        case "derived":
          throw new Error(`this reader cannot evaluate ${source.derivation.kernel}`);
      }
    },
  };
}
