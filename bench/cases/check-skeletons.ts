import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckedSkeleton } from "../child/check-skeleton.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";
import { latents } from "./shapes.ts";

const SKELETONS = [
  { name: "sd15-unet", dims: latents(64) },
  { name: "sdxl-unet", dims: latents(128) },
  { name: "dit-xl-2", dims: { batch_size: 2 } },
  { name: "sd-vae-decoder", dims: { batch_size: 1, height: 64, width: 64 } },
];

/** Seconds a target may take from the file to the verdict. */
const LIMIT = 60;

/** Bytes the process may hold at its peak, all targets together: weights of the largest model are 10 GB. */
const MEMORY = 1.5 * 2 ** 30;

/** Nodes named one by one; more of them are counted by operator in the table alone. */
const NAMED = 12;

/** The architectures without their weights: legalised and checked for every target, and what would leave the accelerator. */
export const checkSkeletons: BenchCase = {
  name: "check-skeletons",
  title: "what every target would do with the large architectures",
  needs: SKELETONS.map((s) => `skeletons/${s.name}.onnx`),
  async run({ models, scratch, say }) {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const notes: string[] = [];
    for (const { name, dims } of SKELETONS) {
      say(name);
      const folder = scratch.fresh(`hollow-${name}`);
      mkdirSync(folder, { recursive: true });
      const plan = JSON.parse(readFileSync(join(models, `skeletons/${name}.weights.json`), "utf8")) as {
        file: string;
        bytes: number;
      };
      const model = join(folder, `${name}.onnx`);
      copyFileSync(join(models, `skeletons/${name}.onnx`), model);
      // A hole of the right length: nothing of the weights is on disk.
      writeFileSync(join(folder, plan.file), "");
      truncateSync(join(folder, plan.file), plan.bytes);
      const { value, measured } = await runScript<CheckedSkeleton[]>("check-skeleton.ts", { model, dims });
      for (const c of value) {
        const by = new Map<string, number>();
        for (const l of c.leaves) by.set(l.op, (by.get(l.op) ?? 0) + 1);
        rows.push([
          name,
          c.target,
          c.shared + c.seconds,
          c.nodes,
          c.rejects.length,
          c.leaves.length,
          c.partitions,
          c.share === null ? "–" : 100 * c.share,
          [...by].map(([op, n]) => `${n} ${op}`).join(", ") || "–",
        ]);
        for (const r of c.rejects) notes.push(`${name} on ${c.target}: ${r}`);
        if (c.leaves.length > 0 && c.leaves.length <= NAMED)
          notes.push(`${name} on ${c.target} leaves at ${c.leaves.map((l) => l.node).join(", ")}`);
      }
      const at = (what: string, figure: number, limit: number, unit: string) =>
        checks.push({ name: `${name}, ${what}`, value: figure, relation: "<=" as const, limit, unit });
      at("slowest target", Math.max(...value.map((c) => c.shared + c.seconds)), LIMIT, "s");
      at("peak memory of all targets", measured.peakBytes / 2 ** 20, MEMORY / 2 ** 20, "MiB");
      at(
        "rejects",
        value.reduce((sum, c) => sum + c.rejects.length, 0),
        0,
        "",
      );
      scratch.drop(folder);
    }
    return {
      columns: [
        "model",
        "target",
        "processor s",
        "nodes",
        "rejects",
        "leave",
        "partitions",
        "FLOPs on it, %",
        "which",
      ],
      rows,
      checks,
      commands: ["npm run bench -- --only check-skeletons"],
      notes: [
        ...notes,
        "Every model goes through what a build with the preset exact goes through, at fixed lengths and without its weights: of those there is a hole of the right length.",
        "Seconds: reading, the exact passes all targets share, legalisation, check; each target as if it were alone. Memory: one process that does all targets in turn.",
      ],
    };
  },
};
