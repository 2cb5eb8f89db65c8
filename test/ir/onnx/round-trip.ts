import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { decodeModel, encodeModel, fileReader, readModel, writeModel } from "../../../src/ir/onnx/index.ts";

/** Scratch folder of the test file that imports this, removed after it. */
export const folder = mkdtempSync(join(tmpdir(), "diffpress-round-trip-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Differences after decode -> encode and after read -> write to files; both must be none. */
export async function roundTrip(bytes: Uint8Array): Promise<string[]> {
  const reader = fileReader();
  const inMemory = await encodeModel(decodeModel(bytes), reader);
  const before = join(folder, "before.onnx");
  const after = join(folder, "after.onnx");
  writeFileSync(before, bytes);
  await writeModel(await readModel(before), after, {
    reader,
    external: false,
  });
  return [...compareModels(bytes, inMemory), ...compareModels(bytes, readFileSync(after), { before, after })];
}
