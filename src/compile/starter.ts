import { existsSync, writeFileSync } from "node:fs";
import { fail } from "../diagnostics/index.ts";
import { targets } from "../targets/index.ts";
import { writing } from "./output.ts";
import { presetRecipe } from "./recipe/load.ts";
import { openSource } from "./source.ts";

/** What a starter recipe is made for. */
export interface StarterOptions {
  /** Pipeline or model whose dims and components are filled in; `null` for a general one. */
  readonly source: string | null;
  readonly preset: string;
}

/** A commented recipe that is valid as it stands. Errors: PRESET_UNKNOWN and those of the input. */
export async function starterRecipe(options: StarterOptions): Promise<string> {
  presetRecipe(options.preset);
  const source = options.source === null ? null : await openSource(options.source, { reference: false });
  const dims = [...new Set(source?.components.flatMap((c) => c.info.dims) ?? [])].filter(
    (d) => !d.includes("."),
  );
  const shape =
    dims.length === 0 ? "batch_size: 2, height: 64, width: 64" : dims.map((d) => `${d}: 2`).join(", ");
  const components = source?.components.map((c) => c.info.name).join(", ") ?? "unet";
  return `# A diffpress recipe. \`diffpress schema recipe\` prints every key, \`diffpress passes\` every pass.
extends: ${options.preset}                # exact | fp16 | w8 | w4 | another recipe
seed: 0

# Lengths of symbolic dims; without them dims stay symbolic where the target allows it.
# shape: { ${shape} }

# What components get: {} these passes, null exact ones only, or passes of their own; by name or kind (text-encoder).
# There are: ${components}
# components: { text-encoder: { passes: [clean, convert-float] }, vae-decoder: null }

# Passes on top of what is extended; null skips one.
# passes:
#   - quantize-weights: { format: w4, block: 32 }
#   - dedupe-weights: null

# What each target does differently.
targets:
${targets.map((t) => `  ${t.id}: {}`).join("\n")}

# Checked at the end; a missed limit gives exit code 3.
# budgets: { bytes: 30%, sqnr: { mean: 30, worst: 20 } }
`;
}

/** Writes a starter recipe. Errors: FILE_EXISTS unless `replace`, OUTPUT_UNWRITABLE. */
export function writeStarterRecipe(path: string, text: string, replace: boolean): void {
  if (!replace && existsSync(path)) fail("FILE_EXISTS", { path });
  writing(path, () => writeFileSync(path, text), text.length);
}
