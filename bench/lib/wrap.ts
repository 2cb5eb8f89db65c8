import { linkSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRng } from "../../src/numeric/rng.ts";

/** A denoiser without a pipeline, to be given one. */
export interface Wrapping {
  /** The model file; its external data lies beside it and nothing else does. */
  readonly model: string;
  readonly folder: string;
  readonly channels: number;
  readonly sampleSize: number;
  /** Tokens and width of the sequence it is conditioned on. */
  readonly sequence: readonly [tokens: number, width: number];
}

/** Decimals of made-up conditions: enough that none are equal, few enough for a readable file. */
const DECIMALS = 3;

function states(name: string, [tokens, width]: readonly [number, number]): number[][] {
  const rng = createRng(0, "bench condition", name);
  const value = (): number => Number(rng.normal().toFixed(DECIMALS));
  return Array.from({ length: tokens }, () => Array.from({ length: width }, value));
}

/**
 * Makes a pipeline folder around a UNet of the Stable Diffusion kind: the model hard-linked with its data, the DDIM
 * schedule those models use, two made-up conditions and a made-up unconditional one.
 */
export function wrapUnet(w: Wrapping): string {
  const unet = join(w.folder, "unet");
  mkdirSync(unet, { recursive: true });
  mkdirSync(join(w.folder, "scheduler"), { recursive: true });
  const json = (file: string, value: unknown): void =>
    writeFileSync(join(w.folder, file), JSON.stringify(value));
  for (const file of readdirSync(dirname(w.model))) {
    const from = join(dirname(w.model), file);
    if (from === w.model) linkSync(from, join(unet, "model.onnx"));
    else if (file.endsWith("data")) linkSync(from, join(unet, file));
  }
  json("model_index.json", {
    _class_name: "StableDiffusionPipeline",
    scheduler: ["diffusers", "DDIMScheduler"],
  });
  json("unet/config.json", { in_channels: w.channels, sample_size: w.sampleSize });
  json("scheduler/scheduler_config.json", {
    _class_name: "DDIMScheduler",
    num_train_timesteps: 1000,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    beta_end: 0.012,
    prediction_type: "epsilon",
    clip_sample: false,
    set_alpha_to_one: false,
    steps_offset: 1,
    timestep_spacing: "leading",
  });
  const condition = (name: string) => ({
    name,
    inputs: { encoder_hidden_states: states(name, w.sequence) },
  });
  json("diffpress.json", {
    steps: 20,
    guidance: 2.5,
    conditions: [condition("first"), condition("second")],
    unconditional: condition("none"),
  });
  return w.folder;
}
