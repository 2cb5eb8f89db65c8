import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Where builds of ONNX Runtime's own tools lie, seen from the models folder. */
export const PEERS = "../peers";

/** A figure recorded for a peer's build on another machine. */
export interface RecordedPeer {
  readonly build: string;
  readonly MB: number;
  readonly sqnr_mean_db: number;
  readonly sqnr_worst_step_db: number;
  readonly psnr_median_db: number;
  readonly speed_vs_fp32_1_thread: number;
}

/** One build of ONNX Runtime's tools that is at hand as a file. */
export interface Peer {
  /** File name without its ending. */
  readonly name: string;
  readonly path: string;
  /** What `figures.json` says of it; `null` when it says nothing. */
  readonly recorded: RecordedPeer | null;
}

/** Every peer of a pipeline, by name. Throws with what is missing. */
export function peersOf(models: string, pipeline: string): Peer[] {
  const root = join(models, PEERS);
  const folder = join(root, pipeline);
  const figures = join(root, "figures.json");
  for (const path of [folder, figures])
    if (!existsSync(path))
      throw new Error(`there is no ${path}: builds of ONNX Runtime's tools belong beside the models`);
  const recorded = JSON.parse(readFileSync(figures, "utf8")) as Record<string, RecordedPeer[]>;
  return readdirSync(folder)
    .filter((f) => f.endsWith(".onnx"))
    .sort()
    .map((f) => f.slice(0, -".onnx".length))
    .map((name) => ({
      name,
      path: join(folder, `${name}.onnx`),
      recorded: recorded[pipeline]?.find((r) => r.build === name) ?? null,
    }));
}
