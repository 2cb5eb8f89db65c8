import type { WrittenModel } from "../ir/onnx/index.ts";
import type { SamplingFacts } from "../passes/pass.ts";
import type { GraphSet } from "../runtime/index.ts";

/** One file of a build. Paths are relative to the build folder and use `/`. */
export interface ManifestFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** One tensor of a written model. */
export type ManifestTensor = WrittenModel["tensors"][number];

/** `manifest.json`: what the build consists of, byte for byte. It holds no time and no path of this machine. */
export interface Manifest {
  readonly schema: 1;
  readonly diffpress: string;
  readonly onnxruntime: string;
  readonly input: { readonly name: string; readonly sha256: string; readonly bytes: number };
  readonly recipe: { readonly sha256: string };
  /** Every file of the build except this one and `report.json`, which holds measured times. Sorted by path. */
  readonly files: readonly ManifestFile[];
  /** Tensors per model file, in the order they are written. */
  readonly models: { readonly [path: string]: readonly ManifestTensor[] };
  /** Components that are several graphs, by the path of their description; absent where there are none. */
  readonly graphs?: { readonly [path: string]: GraphSet };
  /** What samplers may know of a denoiser, by the path of its model or description; absent where there is nothing. */
  readonly sampling?: { readonly [path: string]: SamplingFacts };
}

function sorted<T>(by: { readonly [path: string]: T }): { readonly [path: string]: T } {
  return Object.fromEntries(Object.entries(by).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Puts a manifest together, everything sorted. */
export function makeManifest(parts: Omit<Manifest, "schema">): Manifest {
  const byPath = (a: { path: string }, b: { path: string }): number => (a.path < b.path ? -1 : 1);
  return {
    schema: 1,
    diffpress: parts.diffpress,
    onnxruntime: parts.onnxruntime,
    input: parts.input,
    recipe: parts.recipe,
    files: [...parts.files].sort(byPath),
    models: sorted(parts.models),
    ...(parts.graphs !== undefined && { graphs: sorted(parts.graphs) }),
    ...(parts.sampling !== undefined && { sampling: sorted(parts.sampling) }),
  };
}
