import { fail } from "../diagnostics/index.ts";
import { inspectComponent } from "../inspect/component.ts";
import { type EstimatedFormat, estimateBytes } from "../inspect/estimate.ts";
import type { Inspection } from "../inspect/types.ts";
import { modelTensors } from "../ir/weights.ts";
import { findPass } from "../passes/index.ts";
import type { Bindings } from "../passes/pass.ts";
import { symbolBindings } from "./flops.ts";
import { presets } from "./presets/index.ts";
import { componentStages, type NamedComponent } from "./recipe/components.ts";
import { resolveRecipe } from "./recipe/resolve.ts";
import { deduceBindings } from "./shapes.ts";
import { openSource } from "./source.ts";

/** Options of {@link inspect}. */
export interface InspectOptions {
  /** Lengths of symbolic dims, or of `input.axis`, to count FLOPs at. */
  readonly shape?: Bindings;
}

/** What the passes a preset has for a component leave of its weights, for the estimate. */
function formatOf(preset: string, component: NamedComponent): EstimatedFormat {
  const { components, stages } = resolveRecipe(null, { preset, defaultTargets: ["cpu-x64"] });
  const chosen = componentStages(components, component);
  if (chosen.kind === "exact") return "exact";
  const lossy = (chosen.kind === "own" ? chosen.stages : stages).filter(
    (s) => findPass(s.name)?.effect === "lossy",
  );
  if (lossy.some((s) => s.options["format"] === "w4")) return "w4";
  if (lossy.some((s) => findPass(s.name)?.family === "quantize")) return "w8";
  return lossy.length > 0 ? "fp16" : "exact";
}

function text(config: Readonly<Record<string, unknown>> | undefined, key: string): string | null {
  const value = config?.[key];
  return typeof value === "string" ? value : null;
}

/**
 * Looks at a pipeline folder or a model without reading a weight: parameters and bytes by dtype and part, operators,
 * FLOPs per step, inputs with roles, symbolic dims, the largest tensors, what each preset would do. Errors: those of
 * the input, and SHAPE_DIM_UNKNOWN.
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const source = await openSource(path);
  const given = options.shape ?? {};
  const known = [...new Set(source.components.flatMap((c) => c.info.dims))];
  for (const dim of Object.keys(given)) if (!known.includes(dim)) fail("SHAPE_DIM_UNKNOWN", { dim, known });
  const bytes = new Map(presets.map((p) => [p.name, 0]));
  let original = 0;
  const components = source.components.map(({ info, file, model }) => {
    const asked = Object.fromEntries(Object.entries(given).filter(([d]) => info.dims.includes(d)));
    const { found, missing } = deduceBindings(info, asked);
    const lengths = symbolBindings(model, { ...found, ...asked });
    const { inspection, anatomy } = inspectComponent(model, {
      name: info.name,
      file,
      denoiser: info.denoiser,
      dims: info.dims,
      lengths,
      missing,
    });
    original += inspection.total.bytes;
    for (const p of presets)
      bytes.set(
        p.name,
        bytes.get(p.name)! + estimateBytes(modelTensors(model), anatomy, formatOf(p.name, info)),
      );
    return inspection;
  });
  const config = source.pipeline.scheduler?.config;
  return {
    source: source.name,
    kind: source.kind,
    pipeline:
      source.kind === "model"
        ? null
        : {
            className: source.pipeline.className,
            scheduler: text(config, "_class_name"),
            prediction: text(config, "prediction_type"),
          },
    components,
    presets: presets.map((p) => ({
      preset: p.name,
      summary: p.summary,
      bytes: bytes.get(p.name)!,
      share: original === 0 ? 1 : bytes.get(p.name)! / original,
    })),
  };
}
