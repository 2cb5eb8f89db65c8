import { rmSync } from "node:fs";
import { link, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { writeModel } from "../ir/onnx/index.ts";
import type { Tensor, TensorReader } from "../ir/tensor.ts";
import { graphTensors } from "../ir/weights.ts";

/** A model on disk that the runtime can load by path. */
export interface StagedModel {
  readonly path: string;
  /** Deletes the private folder. Safe to call twice. */
  remove(): Promise<void>;
}

/** Bytes from which on a tensor stays in its file; smaller ones are copied into the graph. */
const THRESHOLD = 1024;

const folders = new Set<string>();
let guarded = false;

function guard(folder: string): void {
  folders.add(folder);
  if (guarded) return;
  guarded = true;
  process.on("exit", () => {
    for (const f of folders) rmSync(f, { recursive: true, force: true });
  });
}

function reasonOf(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

/** Makes a private folder that disappears on `remove` or at the end of the process. Fails with TEMP_UNUSABLE. */
export async function privateFolder(
  parent = tmpdir(),
): Promise<{ readonly path: string; remove(): Promise<void> }> {
  let path: string;
  try {
    path = await mkdtemp(join(parent, "diffpress-"));
  } catch (e) {
    return fail("TEMP_UNUSABLE", { folder: parent, reason: reasonOf(e) }, e);
  }
  guard(path);
  return {
    path,
    async remove() {
      await rm(path, { recursive: true, force: true });
      folders.delete(path);
    },
  };
}

/** Weight files of a model, in the order they are first used. */
function weightFiles(model: Model): string[] {
  const paths = new Set<string>();
  for (const t of graphTensors(model.graph)) if (t.source.kind === "file") paths.add(t.source.path);
  return [...paths];
}

/** Hard links to the weight files inside a folder, by original path. Files that cannot be linked are missing. */
async function linkFiles(paths: readonly string[], folder: string): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (const [i, path] of paths.entries()) {
    const name = `weights-${i}`;
    try {
      await link(path, join(folder, name));
      names.set(path, name);
    } catch {
      // Another file system, or one without hard links: the writer copies these weights instead.
    }
  }
  return names;
}

/**
 * Writes the graph of a model into a private folder. The runtime only accepts external data inside the model's folder,
 * and no symbolic links that leave it; weights that lie in files are therefore hard-linked, which costs nothing, and
 * only derived ones are written. Hard links need the same file system, so when the temporary folder is on another one
 * a folder beside the weights is tried before copying. Fails with TEMP_UNUSABLE.
 */
export async function stageModel(model: Model, reader: TensorReader): Promise<StagedModel> {
  const paths = weightFiles(model);
  let folder = await privateFolder();
  let names = await linkFiles(paths, folder.path);
  if (names.size < paths.length) {
    const beside = await privateFolder(dirname(paths[0]!)).catch(() => null);
    if (beside !== null) {
      await folder.remove();
      folder = beside;
      names = await linkFiles(paths, folder.path);
    }
  }
  const linked = (t: Tensor) => {
    const s = t.source;
    const file = s.kind === "file" ? names.get(s.path) : undefined;
    return s.kind === "file" && file !== undefined ? { file, offset: s.offset } : null;
  };
  try {
    const path = join(folder.path, "model.onnx");
    await writeModel(model, path, {
      reader,
      temporary: true,
      external: { threshold: THRESHOLD, total: 0, linked },
    });
    return { path, remove: folder.remove };
  } catch (e) {
    await folder.remove();
    throw e;
  }
}
