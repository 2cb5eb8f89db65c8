import { constants } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { fail } from "../diagnostics/index.ts";

/** One positional read; the operating system refuses more than 2 GiB at once. */
const MAX_READ = 1 << 30;

/** Size of the pieces in which files are hashed: large enough for full disk speed, small enough not to count. */
const HASH_CHUNK = 8 << 20;

/** Largest `Uint8Array` of this version of Node. */
export const MAX_BYTES = constants.MAX_LENGTH;

/** A range of a file. */
export interface FileRange {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

function unreadable(range: FileRange, reason: string, cause?: unknown): never {
  return fail(
    "TENSOR_UNREADABLE",
    { file: range.path, offset: range.offset, length: range.length, reason },
    cause,
  );
}

function reasonOf(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

async function opened<T>(range: FileRange, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle;
  try {
    file = await open(range.path, "r");
  } catch (e) {
    return unreadable(range, reasonOf(e), e);
  }
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Fills `into` from `position` on; stops at the end of the file and returns how much was there. */
async function readInto(file: FileHandle, into: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(MAX_READ, into.length - done);
    const { bytesRead } = await file.read(into, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Reads a range into fresh memory. Fails with TENSOR_UNREADABLE when the file is gone or too short. */
export async function readRange(range: FileRange): Promise<Uint8Array> {
  return await opened(range, async (file) => {
    const bytes = new Uint8Array(range.length);
    const done = await readInto(file, bytes, range.offset).catch((e) => unreadable(range, reasonOf(e), e));
    if (done < bytes.length) unreadable(range, `the file ends after ${done} of them`);
    return bytes;
  });
}

/** What identifies a version of a file within one run: size and modification time in nanoseconds. */
export async function fileVersion(range: FileRange): Promise<string> {
  return await opened(range, async (file) => {
    const s = await file.stat({ bigint: true });
    return `${s.size}/${s.mtimeNs}`;
  });
}

/** sha256 of a range, in pieces. */
export async function hashRange(range: FileRange): Promise<string> {
  return await opened(range, async (file) => {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(Math.min(HASH_CHUNK, range.length));
    for (let at = 0; at < range.length; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, range.length - at));
      const done = await readInto(file, part, range.offset + at).catch((e) =>
        unreadable(range, reasonOf(e), e),
      );
      if (done < part.length) unreadable(range, `the file ends after ${at + done} of them`);
      hash.update(part);
    }
    return hash.digest("hex");
  });
}
