import type { Json } from "../ir/tensor.ts";
import type { DeclaredSizes } from "./roles.ts";

/** What a component of a pipeline does. */
export type ComponentKind =
  | "denoiser"
  | "vae-decoder"
  | "vae-encoder"
  | "text-encoder"
  | "image-encoder"
  | "safety-checker"
  | "other";

/** One model of a pipeline. */
export interface Component {
  /** Folder name, `unet`; the file's base name for a single model. */
  readonly name: string;
  readonly kind: ComponentKind;
  /** Absolute or caller-relative path of `model.onnx`. */
  readonly model: string;
  /** `config.json` beside the model, `null` when there is none. */
  readonly config: Readonly<Record<string, Json>> | null;
  /** Class in `model_index.json`, `null` when it is not listed. */
  readonly className: string | null;
}

const KINDS: readonly (readonly [RegExp, ComponentKind])[] = [
  [/^(unet|transformer|prior|denoiser)(_\d+)?$/, "denoiser"],
  [/^(vae_decoder|vqvae|decoder)$/, "vae-decoder"],
  [/^vae_encoder$/, "vae-encoder"],
  [/^text_encoder(_\d+)?$/, "text-encoder"],
  [/^image_encoder$/, "image-encoder"],
  [/^safety_checker$/, "safety-checker"],
];

/** Kind of a component by its folder name, as the diffusers layout spells them. */
export function componentKind(name: string): ComponentKind {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? "other";
}

function size(value: Json | undefined): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : null;
}

/** `in_channels` and `sample_size` (a number, `[height, width]`) of a `config.json`. */
export function declaredSizes(component: Component): DeclaredSizes {
  const config = component.config ?? {};
  const sample = config["sample_size"];
  const [height, width] = Array.isArray(sample) ? [sample[0], sample[1]] : [sample, sample];
  return {
    channels: size(config["in_channels"]),
    height: size(height ?? config["sample_height"]),
    width: size(width ?? config["sample_width"]),
  };
}
