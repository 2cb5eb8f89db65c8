import type { ComponentRecipe } from "../recipe/types.ts";

/** Kinds of components a pipeline works with besides its denoiser. */
const OTHERS = ["text-encoder", "image-encoder", "vae-encoder", "vae-decoder"] as const;

/** The same for every component around the denoiser; safety checkers and unknown models get exact passes only. */
export function others(entry: ComponentRecipe): { readonly [kind: string]: ComponentRecipe } {
  return Object.fromEntries(OTHERS.map((kind) => [kind, entry]));
}

/**
 * 8-bit weights around a denoiser that gets less: text encoders and decoders run once per image, so that their size is
 * all there is to win, and their errors are not averaged out over steps.
 */
export const othersAt8Bits = others({ passes: ["clean", { "quantize-weights": { format: "w8" } }] });
