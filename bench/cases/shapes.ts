import type { Dims } from "../lib/feeds.ts";

/** A bundled trained pipeline and the fixed shape it is compared at: both guidance halves at its sample size. */
export interface Trained {
  readonly name: string;
  readonly component: string;
  readonly dims: Dims;
  /** What onnxsim 0.7.3 leaves at this shape. */
  readonly simplified: number;
}

/** The two trained pipelines. */
export const TRAINED: readonly Trained[] = [
  {
    name: "cifar-unet",
    component: "unet",
    dims: { batch_size: 2, height: 16, width: 16, steps: 1, sequence_length: 8 },
    simplified: 789,
  },
  { name: "cifar-dit", component: "transformer", dims: { batch_size: 2 }, simplified: 531 },
];

/** Stable Diffusion 1.5 and SDXL UNets at a latent size. */
export function latents(size: number): Dims {
  return { batch_size: 2, num_channels: 4, height: size, width: size, steps: 1, sequence_length: 77 };
}
