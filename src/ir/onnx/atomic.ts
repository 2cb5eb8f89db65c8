import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { errorCode, systemProblem } from "./source.ts";

/** Small writes are gathered up to this size. */
const BUFFER_BYTES = 2 ** 20;

let counter = 0;

/** Files of one folder that appear together under their names, or not at all. */
export class AtomicFiles {
  readonly #folder: string;
  readonly #bytes: number;
  readonly #open: AtomicFile[] = [];

  /** `bytes` is how much all files will take, for messages. */
  constructor(folder: string, bytes: number) {
    this.#folder = folder;
    this.#bytes = bytes;
  }

  /** Starts a file under a temporary name in the same folder. */
  async open(name: string, hashed: boolean): Promise<AtomicFile> {
    const temporary = join(this.#folder, `.${name}.${process.pid}-${counter++}.tmp`);
    const handle = await guarded(join(this.#folder, name), this.#bytes, () => open(temporary, "w"));
    const file = new AtomicFile(name, join(this.#folder, name), temporary, handle, this.#bytes, hashed);
    this.#open.push(file);
    return file;
  }

  /** Gives every file its name, in the order they were opened. */
  async commit(durable: boolean): Promise<void> {
    for (const f of this.#open) {
      await guarded(f.path, this.#bytes, () => rename(f.temporary, f.path));
      f.committed = true;
    }
    if (!durable) return;
    // Makes the renames last; some file systems cannot sync a folder and need not.
    const folder = await open(this.#folder, "r").catch(() => null);
    await folder?.sync().catch(() => {});
    await folder?.close();
  }

  /** Removes what was written so far. */
  async abort(): Promise<void> {
    for (const f of this.#open) {
      await f.close();
      await rm(f.temporary, { force: true });
      if (f.committed) await rm(f.path, { force: true });
    }
  }
}

/** A file being written under a temporary name. */
export class AtomicFile {
  readonly name: string;
  readonly path: string;
  readonly temporary: string;
  readonly #handle: FileHandle;
  readonly #total: number;
  readonly #hash: Hash | null;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  /** The write under way; the next chunk is hashed meanwhile. */
  #writing: Promise<void> = Promise.resolve();
  #closed = false;
  /** Bytes given so far. */
  size = 0;
  /** It has its final name. */
  committed = false;

  constructor(
    name: string,
    path: string,
    temporary: string,
    handle: FileHandle,
    total: number,
    hashed: boolean,
  ) {
    this.name = name;
    this.path = path;
    this.temporary = temporary;
    this.#handle = handle;
    this.#total = total;
    this.#hash = hashed ? createHash("sha256") : null;
  }

  /** Appends bytes, which must not change until {@link AtomicFile.finish}. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#hash?.update(bytes);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.size += bytes.length;
    if (this.#pendingBytes >= BUFFER_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const parts = this.#pending;
    if (parts.length === 0) return;
    this.#pending = [];
    this.#pendingBytes = 0;
    const chunk = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    await this.#writing;
    this.#writing = guarded(this.path, this.#total, async () => {
      for (let at = 0; at < chunk.length; ) {
        const { bytesWritten } = await this.#handle.write(chunk, at, Math.min(chunk.length - at, 2 ** 28));
        at += bytesWritten;
      }
    });
    // A failure surfaces at the next write or at the end; until then it must not count as unhandled.
    this.#writing.catch(() => {});
  }

  /** Writes the rest and closes. `durable` waits until the bytes are on disk. */
  async finish(durable: boolean): Promise<{ path: string; bytes: number; sha256: string }> {
    await this.#flush();
    await this.#writing;
    await guarded(this.path, this.#total, async () => {
      if (durable) await this.#handle.sync();
      this.#closed = true;
      await this.#handle.close();
    });
    return { path: this.name, bytes: this.size, sha256: this.#hash?.digest("hex") ?? "" };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing.catch(() => {});
    await this.#handle.close().catch(() => {});
  }
}

/** Turns file system errors into DISK_FULL or OUTPUT_UNWRITABLE. */
async function guarded<T>(path: string, bytes: number, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = errorCode(cause);
    if (code === "ENOSPC" || code === "EDQUOT") return fail("DISK_FULL", { path, bytes }, cause);
    return fail("OUTPUT_UNWRITABLE", { path, problem: systemProblem(cause) }, cause);
  }
}
