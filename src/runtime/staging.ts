import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { writeModel } from "../ir/onnx/index.ts";
import type { TensorReader } from "../ir/tensor.ts";

/** A model on disk that the runtime can load by path. */
export interface StagedModel {
  readonly path: string;
  /** Deletes the private folder. Safe to call twice. */
  remove(): Promise<void>;
}

const staged = new Set<string>();
let guarded = false;

/** Folders that are still there when the process ends are removed then. */
function guard(folder: string): void {
  staged.add(folder);
  if (guarded) return;
  guarded = true;
  process.on("exit", () => {
    for (const f of staged) rmSync(f, { recursive: true, force: true });
  });
}

/** Makes a private folder that disappears on `remove` or at the end of the process. Fails with TEMP_UNUSABLE. */
export async function privateFolder(parent = tmpdir()): Promise<{ path: string; remove(): Promise<void> }> {
  let path: string;
  try {
    path = await mkdtemp(join(parent, "diffpress-"));
  } catch (e) {
    return fail("TEMP_UNUSABLE", { folder: parent, reason: e instanceof Error ? e.message : String(e) }, e);
  }
  guard(path);
  return {
    path,
    async remove() {
      staged.delete(path);
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** Writes a model with its weights beside it into a private folder. */
export async function stageModel(model: Model, reader: TensorReader): Promise<StagedModel> {
  const folder = await privateFolder();
  try {
    const path = join(folder.path, "model.onnx");
    await writeModel(model, path, { reader });
    return { path, remove: folder.remove };
  } catch (e) {
    await folder.remove();
    throw e;
  }
}
