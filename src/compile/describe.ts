import { stringify } from "yaml";
import type { SamplingFacts } from "../passes/pass.ts";
import type { Report } from "../report/types.ts";
import type { GraphSet } from "../runtime/index.ts";
import { targetFolder } from "../targets/variant.ts";
import { VERSION } from "../version.ts";
import { canonicalJson, hashFile, sha256 } from "./hash.ts";
import { type ManifestFile, type ManifestTensor, makeManifest } from "./manifest.ts";
import { MANIFEST, type OutputFolder } from "./output.ts";
import type { Recipe } from "./recipe/types.ts";
import { type BuildSource, filesToCopy } from "./source.ts";
import type { Built } from "./targets.ts";

/** What identifies a build besides its files. */
export interface BuildFacts {
  readonly onnxruntime: string;
  readonly input: Report["input"];
  /** Files beside the models: descriptions for whoever loads them. */
  readonly packages: readonly ManifestFile[];
  /** The resolved recipe. */
  readonly lock: Recipe;
}

/** Hash of the resolved recipe, whatever its spelling. */
export function recipeHash({ lock }: Pick<BuildFacts, "lock">): string {
  return sha256(canonicalJson(lock));
}

/** Copies the input's descriptions beside the models, then writes lock, report and manifest. */
export async function writeDescriptions(
  source: BuildSource,
  output: OutputFolder,
  built: ReadonlyMap<string, readonly Built[]>,
  facts: BuildFacts,
  report: Report,
): Promise<void> {
  const files: ManifestFile[] = [...facts.packages];
  const models: Record<string, readonly ManifestTensor[]> = {};
  const graphs: Record<string, GraphSet> = {};
  const sampling: Record<string, SamplingFacts> = {};
  for (const [id, list] of built) {
    for (const b of list) {
      files.push(...b.written.files);
      Object.assign(models, b.written.models);
      if (b.written.set !== null) graphs[b.written.path] = b.written.set;
      if (Object.keys(b.sampling).length > 0) sampling[b.written.path] = b.sampling;
    }
    const folder = targetFolder({ id });
    for (const { from, to } of filesToCopy(source)) {
      // The build has a README of its own.
      const path = `${folder}/${to.replace(/^readme\.md$/i, "README.source.md")}`;
      output.copy(from, path);
      files.push({ path, ...(await hashFile(from)) });
    }
  }
  const lock = stringify(facts.lock, { lineWidth: 0 });
  output.write("recipe.lock.yaml", lock);
  files.push({ path: "recipe.lock.yaml", bytes: Buffer.byteLength(lock), sha256: sha256(lock) });
  output.write("report.json", `${JSON.stringify(report, null, 2)}\n`);
  const manifest = makeManifest({
    diffpress: VERSION,
    onnxruntime: facts.onnxruntime,
    input: facts.input,
    recipe: { sha256: recipeHash(facts) },
    files,
    models,
    ...(Object.keys(graphs).length > 0 && { graphs }),
    ...(Object.keys(sampling).length > 0 && { sampling }),
  });
  // Last: a folder with a manifest is a complete build.
  output.write(MANIFEST, `${JSON.stringify(manifest, null, 1)}\n`);
}
