import { existsSync, mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runNode } from "./child.ts";

/** Disk space of the bench: filled skeletons and builds. */
export interface Scratch {
  readonly root: string;
  /** A folder that does not exist yet; removed with the scratch. */
  fresh(name: string): string;
  /** Removes a folder made by {@link Scratch.fresh}; a kept scratch keeps it. */
  drop(path: string): void;
  /** A skeleton with its deterministic weights, filled once; returns the path of the model. */
  skeleton(name: string): Promise<string>;
  freeBytes(): number;
  /** Removes everything unless the scratch is kept. */
  close(): void;
}

/** Opens the scratch folder. `keep` leaves filled skeletons and builds behind for the next run. */
export function openScratch(root: string, models: string, keep: boolean): Scratch {
  mkdirSync(root, { recursive: true });
  let count = 0;
  return {
    root,
    fresh(name) {
      const path = join(root, `${name}-${count++}`);
      rmSync(path, { recursive: true, force: true });
      return path;
    },
    drop(path) {
      if (!keep) rmSync(path, { recursive: true, force: true });
    },
    async skeleton(name) {
      const dir = join(root, "skeletons", name);
      const done = join(dir, "filled");
      if (!existsSync(done)) {
        rmSync(dir, { recursive: true, force: true });
        await runNode([join(models, "skeletons/fill.mjs"), name, dir]);
        writeFileSync(done, "");
      }
      return join(dir, `${name}.onnx`);
    },
    freeBytes() {
      const s = statfsSync(root);
      return s.bavail * s.bsize;
    },
    close() {
      if (!keep) rmSync(root, { recursive: true, force: true });
    },
  };
}
