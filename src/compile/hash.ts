import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { Json } from "../ir/tensor.ts";

/** Large enough that calls cost nothing, small enough not to show in the memory of a run. */
const CHUNK = 4 << 20;

/** sha256 of a text or bytes, in hex. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** sha256 and length of a file, read in chunks. */
export async function hashFile(path: string): Promise<{ sha256: string; bytes: number }> {
  const file = await open(path, "r");
  try {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(CHUNK);
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK, bytes);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
    }
    return { sha256: hash.digest("hex"), bytes };
  } finally {
    await file.close();
  }
}

/** JSON with keys in one order, so that equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) =>
    typeof v === "object" && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : (v as Json),
  );
}
