import { readFile, stat } from "node:fs/promises";
import { fail } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import { jsonErrorPosition } from "./json-position.ts";

/** Configuration files are kilobytes; `trained_betas` and vocabularies reach a few megabytes. */
const MAX_BYTES = 64 << 20;

/** True when a regular file is there. */
export async function fileExists(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/** Reads a text file of a pipeline. Fails with PIPELINE_FILE_MISSING or CONFIG_TOO_LARGE. */
export async function readText(file: string, neededBy: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) fail("CONFIG_TOO_LARGE", { file, bytes: size, limit: MAX_BYTES });
    return await readFile(file, "utf8");
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === undefined) throw e;
    return fail("PIPELINE_FILE_MISSING", { file, neededBy }, e);
  }
}

/**
 * Parses JSON; the bare words Infinity, -Infinity and NaN, which Python writes into scheduler configurations, count as
 * null.
 */
function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (e) {
    const strict = text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (m) =>
      m.startsWith('"') ? m : "null",
    );
    if (strict === text) throw e;
    return JSON.parse(strict) as Json;
  }
}

/** Reads a JSON file. Fails with PIPELINE_FILE_MISSING, CONFIG_TOO_LARGE or JSON_INVALID with line and column. */
export async function readJson(file: string, neededBy: string): Promise<Json> {
  const text = (await readText(file, neededBy)).replace(/^\uFEFF/, "");
  try {
    return parse(text);
  } catch (e) {
    return fail("JSON_INVALID", { file, ...jsonErrorPosition(text) }, e);
  }
}

/** The value when it is a JSON object, else CONFIG_INVALID. */
export function asObject(value: Json, file: string): Readonly<Record<string, Json>> {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    return value as Readonly<Record<string, Json>>;
  }
  return fail("CONFIG_INVALID", { file, problems: ["the file must be a JSON object"] });
}
