import type { DType } from "../../ir/dtype.ts";
import type { Model } from "../../ir/graph.ts";
import { inferShapes } from "../../ir/infer.ts";
import { findPass } from "../../passes/index.ts";
import { longProviderName } from "../../targets/providers.ts";
import type { Target } from "../../targets/target.ts";
import { targetFolder } from "../../targets/variant.ts";
import { VERSION } from "../../version.ts";
import { sha256 } from "../hash.ts";
import type { ManifestFile } from "../manifest.ts";
import type { BuildContext, Built } from "../targets.ts";
import { BUILD_FILE, type BuildComponent, type BuildFile, type BuildPort } from "./build-file.ts";
import { expectedOutputs } from "./expected.ts";
import { readmeOf } from "./readme.ts";

/** Passes whose decisions on single layers tell what was done to weights and arithmetic. */
const FAMILIES: ReadonlySet<string> = new Set([
  "convert",
  "quantize",
  "prune",
  "sparsify",
  "factorize",
  "share",
  "freeze",
]);

/** Inputs and outputs of a model that a caller has to do with. */
export function portsOf(model: Model): { readonly inputs: BuildPort[]; readonly outputs: BuildPort[] } {
  const { graph } = model;
  const shapes = inferShapes(model);
  const port = (id: (typeof graph.inputs)[number]): BuildPort[] => {
    const { name, type, init } = graph.value(id);
    if (init !== null && graph.inputs.includes(id)) return [];
    const dtype = type?.kind === "tensor" ? type.dtype : shapes.dtype(id);
    const shape = type?.kind === "tensor" ? (type.shape ?? shapes.shape(id)) : shapes.shape(id);
    return dtype === null ? [] : [{ name, dtype, shape: shape ?? [] }];
  };
  return { inputs: graph.inputs.flatMap(port), outputs: graph.outputs.flatMap(port) };
}

function weightsOf(built: Built): BuildComponent["weights"] {
  const by = new Map<DType, { tensors: number; bytes: number }>();
  // The graphs of a set share their tensors.
  const seen = new Set<string>();
  for (const tensors of Object.values(built.written.models))
    for (const t of tensors) {
      const key = `${t.sha256} ${t.dtype} ${t.dims.join()}`;
      if (built.written.set !== null && seen.has(key)) continue;
      seen.add(key);
      const sum = by.get(t.dtype) ?? { tensors: 0, bytes: 0 };
      by.set(t.dtype, { tensors: sum.tensors + 1, bytes: sum.bytes + t.bytes });
    }
  return [...by]
    .map(([dtype, sum]) => ({ dtype, ...sum }))
    .sort((a, b) => b.bytes - a.bytes || (a.dtype < b.dtype ? -1 : 1));
}

function appliedOf(built: Built): BuildComponent["applied"] {
  const by = new Map<string, { pass: string; rule: string; count: number }>();
  for (const { name, decisions } of built.passes) {
    if (!FAMILIES.has(findPass(name)?.family ?? "")) continue;
    for (const d of decisions) {
      if (d.kind !== "applied" || (d.node === "" && d.count === undefined)) continue;
      const key = `${name} ${d.rule}`;
      const sum = by.get(key) ?? { pass: name, rule: d.rule, count: 0 };
      by.set(key, { ...sum, count: sum.count + (d.count ?? 1) });
    }
  }
  return [...by.values()];
}

/** Writes `build.json`, `README.md` and the archives of self-tests into a target folder; returns what it wrote. */
export async function writePackage(
  ctx: BuildContext,
  target: Target,
  built: readonly Built[],
  onnxruntime: string,
): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  const write = (path: string, data: string | Uint8Array): void => {
    ctx.output.write(`${targetFolder(target)}/${path}`, data);
    const bytes = typeof data === "string" ? Buffer.byteLength(data) : data.length;
    files.push({ path: `${targetFolder(target)}/${path}`, bytes, sha256: sha256(data) });
  };
  const inside = (path: string): string => path.slice(targetFolder(target).length + 1);
  const components: BuildComponent[] = [];
  for (const b of built) {
    const source = ctx.prepared.source.components.find((c) => c.info.name === b.component.name)!;
    const expected = await expectedOutputs(ctx, target, source, b);
    if (typeof expected !== "string") write(expected.test.file, expected.archive);
    components.push({
      name: b.component.name,
      kind: source.info.kind,
      model: inside(b.written.path),
      files: b.written.files.map((f) => ({ ...f, path: inside(f.path) })),
      ...b.ports,
      weights: weightsOf(b),
      applied: appliedOf(b),
      ...(typeof expected === "string"
        ? { selfTest: null, noSelfTest: expected }
        : { selfTest: expected.test }),
    });
  }
  const { name, options } = target.provider;
  const file: BuildFile = {
    schema: 1,
    diffpress: VERSION,
    target: { id: target.id, title: target.title },
    provider: { name, python: longProviderName(name), options },
    session: { graphOptimizationLevel: "all" },
    opset: Math.max(...built.map((b) => b.opset)),
    onnxruntime,
    components,
  };
  write(BUILD_FILE, `${JSON.stringify(file, null, 2)}\n`);
  write("README.md", readmeOf(file));
  return files;
}
