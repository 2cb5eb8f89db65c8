import { readFile, stat } from "node:fs/promises";
import { unzipSync } from "fflate";
import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import { NpyError, parseNpy } from "./npy.ts";

/** Largest archive, packed or unpacked: conditions and reference samples are megabytes, and all of it is in memory. */
const MAX_BYTES = 1 << 30;
/** Most arrays in an archive. */
const MAX_ENTRIES = 100_000;

/** Arrays by name (`.npy` removed), in archive order. Fails with NPZ_INVALID or NPZ_TOO_LARGE. */
export type Npz = ReadonlyMap<string, Dense>;

/** Reads an archive written by `numpy.savez` or `savez_compressed`. Fails with PIPELINE_FILE_MISSING, NPZ_INVALID or NPZ_TOO_LARGE. */
export async function readNpz(file: string, neededBy = "the sampled trajectory"): Promise<Npz> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) fail("NPZ_TOO_LARGE", { file, entry: "", bytes: size, limit: MAX_BYTES });
    bytes = await readFile(file);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === undefined) throw e;
    return fail("PIPELINE_FILE_MISSING", { file, neededBy }, e);
  }
  return parseNpz(bytes, file);
}

/** Reads an archive from memory; `file` names it in messages. */
export function parseNpz(bytes: Uint8Array, file: string): Npz {
  let total = 0;
  let entries = 0;
  let files: Record<string, Uint8Array>;
  try {
    files = unzipSync(bytes, {
      filter: (entry) => {
        total += entry.originalSize;
        if (total > MAX_BYTES)
          fail("NPZ_TOO_LARGE", { file, entry: entry.name, bytes: total, limit: MAX_BYTES });
        if (++entries > MAX_ENTRIES) fail("NPZ_INVALID", { file, entry: "", problem: "too many entries" });
        return entry.name.endsWith(".npy");
      },
    });
  } catch (e) {
    if (e instanceof Error && e.name === "DiffpressError") throw e;
    const problem = `it is not a readable zip archive (${e instanceof Error ? e.message : String(e)})`;
    return fail("NPZ_INVALID", { file, entry: "", problem }, e);
  }
  const arrays = new Map<string, Dense>();
  for (const [name, content] of Object.entries(files)) {
    try {
      arrays.set(name.slice(0, -".npy".length), parseNpy(content));
    } catch (e) {
      if (!(e instanceof NpyError)) throw e;
      fail("NPZ_INVALID", { file, entry: name, problem: e.message }, e);
    }
  }
  return arrays;
}
