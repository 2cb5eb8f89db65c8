import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import { byteLength, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { KernelType } from "./kernels/kernel.ts";

/**
 * Results of derivations on disk, by key. Files appear whole (written aside, then renamed), carry checksums and are
 * verified when read; a damaged one is removed and counts as missing. Several processes may share a folder.
 */
export interface ArtifactStore {
  /** The outputs stored under a key, or `null`. `types` must be those of the derivation. */
  get(key: string, types: readonly KernelType[]): Promise<Dense[] | null>;
  /** Stores outputs. A full or failing disk is not an error: the artifact is simply not kept. */
  put(key: string, outputs: readonly Dense[]): Promise<void>;
}

const MAGIC = new TextEncoder().encode("DPART01\n");
const DIGEST = 32;

/** After an eviction the store is this share of its limit, so that the next `put` does not evict again. */
const EVICT_TO = 0.9;

/** Objects of one key share a folder per first two hex digits: at most 256 folders. */
const KEY = /^[0-9a-f]{64}$/;

function digest(parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha256");
  for (const p of parts) hash.update(p);
  return hash.digest();
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, Math.min(1 << 30, bytes.length - at));
    at += bytesWritten;
  }
}

/** Fills the buffer; false when the file ends before. */
async function readAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<boolean> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, Math.min(1 << 30, bytes.length - at), position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}

/**
 * Opens (or makes) a store in `folder` that holds at most `limit` bytes; the least recently used artifacts go first.
 * Fails with CACHE_UNUSABLE when the folder cannot be made.
 */
export async function openArtifacts(folder: string, limit: number): Promise<ArtifactStore> {
  const objects = join(folder, "objects");
  const temporary = join(folder, "tmp");
  try {
    await mkdir(objects, { recursive: true });
    await mkdir(temporary, { recursive: true });
  } catch (e) {
    fail("CACHE_UNUSABLE", { folder, reason: e instanceof Error ? e.message : String(e) }, e);
  }

  const place = (key: string): string => {
    if (!KEY.test(key)) throw new Error(`${key} is not an artifact key`);
    return join(objects, key.slice(0, 2), key);
  };

  async function inventory(): Promise<{ path: string; size: number; used: bigint }[]> {
    const files: { path: string; size: number; used: bigint }[] = [];
    for (const group of await readdir(objects)) {
      const names = await readdir(join(objects, group)).catch(() => []);
      for (const name of names) {
        const path = join(objects, group, name);
        // Another process may have evicted it since.
        const s = await stat(path, { bigint: true }).catch(() => null);
        if (s !== null) files.push({ path, size: Number(s.size), used: s.mtimeNs });
      }
    }
    return files;
  }

  let total = (await inventory()).reduce((sum, f) => sum + f.size, 0);

  async function evict(): Promise<void> {
    const files = await inventory();
    total = files.reduce((sum, f) => sum + f.size, 0);
    if (total <= limit) return;
    files.sort((a, b) => (a.used < b.used ? -1 : a.used > b.used ? 1 : a.path < b.path ? -1 : 1));
    for (const f of files) {
      if (total <= limit * EVICT_TO) return;
      await unlink(f.path).catch(() => {});
      total -= f.size;
    }
  }

  async function load(file: FileHandle, types: readonly KernelType[]): Promise<Dense[] | null> {
    const head = new Uint8Array(MAGIC.length + DIGEST);
    const lengths = types.map((t) => byteLength(t.dtype, elementCount(t.dims)));
    const total = lengths.reduce((sum, n) => sum + n, head.length);
    if ((await file.stat()).size !== total || !(await readAll(file, head, 0))) return null;
    if (!MAGIC.every((b, i) => head[i] === b)) return null;
    let at = head.length;
    const outputs: Dense[] = [];
    for (const [i, t] of types.entries()) {
      const bytes = new Uint8Array(lengths[i]!);
      if (!(await readAll(file, bytes, at))) return null;
      at += bytes.length;
      outputs.push({ dtype: t.dtype, dims: t.dims, bytes });
    }
    const want = head.subarray(MAGIC.length);
    const got = digest(outputs.map((o) => o.bytes));
    return got.every((b, i) => want[i] === b) ? outputs : null;
  }

  return {
    async get(key, types) {
      const path = place(key);
      const file = await open(path, "r+").catch(() => null);
      if (file === null) return null;
      try {
        const outputs = await load(file, types);
        // Writing a byte that is there already marks the artifact as used.
        if (outputs !== null) await file.write(MAGIC, 0, 1, 0).catch(() => {});
        else await unlink(path).catch(() => {});
        return outputs;
      } catch {
        await unlink(path).catch(() => {});
        return null;
      } finally {
        await file.close();
      }
    },

    async put(key, outputs) {
      const path = place(key);
      const parts = outputs.map((o) => o.bytes);
      const size = parts.reduce((sum, p) => sum + p.length, MAGIC.length + DIGEST);
      if (size > limit) return;
      const aside = join(temporary, randomUUID());
      try {
        await mkdir(join(objects, key.slice(0, 2)), { recursive: true });
        const file = await open(aside, "wx");
        try {
          await writeAll(file, MAGIC);
          await writeAll(file, digest(parts));
          for (const p of parts) await writeAll(file, p);
          await file.datasync();
        } finally {
          await file.close();
        }
        await rename(aside, path);
      } catch {
        await unlink(aside).catch(() => {});
        return;
      }
      total += size;
      if (total > limit) await evict();
    },
  };
}
