import type { Env, InferenceSession, Tensor } from "onnxruntime-node";

/** The parts of onnxruntime-node this project uses. */
export interface Ort {
  readonly InferenceSession: typeof InferenceSession;
  readonly Tensor: typeof Tensor;
  readonly env: Env;
  listSupportedBackends(): readonly { readonly name: string; readonly bundled: boolean }[];
}

let loaded: Promise<Ort> | null = null;

/** Loads the native library on first use, so that commands that run no model start without it. */
export function loadOrt(): Promise<Ort> {
  loaded ??= import("onnxruntime-node").then((m) => {
    // Loaders that translate modules hand out the exports themselves; Node puts them under `default`.
    const found = m as unknown as { readonly default?: unknown };
    const ort = (found.default ?? m) as unknown as Ort;
    // Warnings of the runtime would end up between the lines of our own output; errors arrive as exceptions.
    ort.env.logLevel = "fatal";
    return ort;
  });
  return loaded;
}

/** Version of the runtime in use, as it states it. */
export async function runtimeVersion(): Promise<string> {
  return (await loadOrt()).env.versions.node ?? "unknown";
}
