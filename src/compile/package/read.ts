import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { fail } from "../../diagnostics/index.ts";
import { BUILD_FILE, type BuildFile, buildSchema } from "./build-file.ts";

/** Reads and checks the description in a target folder. Fails with BUILD_FILE_INVALID. */
export async function readBuildFile(folder: string): Promise<BuildFile> {
  const file = join(folder, BUILD_FILE);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, "utf8"));
  } catch (e) {
    return fail("BUILD_FILE_INVALID", { file, problem: e instanceof Error ? e.message : String(e) }, e);
  }
  const validate = new Ajv2020({ strict: false }).compile(buildSchema());
  if (validate(value)) return value as BuildFile;
  const [first] = validate.errors ?? [];
  return fail("BUILD_FILE_INVALID", {
    file,
    problem: `${first?.instancePath ?? ""} ${first?.message ?? ""}`.trim(),
  });
}

/** Whether a path is a target folder that describes itself. */
export function isTargetFolder(path: string): boolean {
  return existsSync(join(path, BUILD_FILE));
}
