import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckedSkeleton } from "../child/check-skeleton.ts";
import type { BenchCase } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";
import { latents } from "./shapes.ts";

const SKELETONS = [
  { name: "sd15-unet", dims: latents(64) },
  { name: "sd-vae-decoder", dims: { batch_size: 1, height: 64, width: 64 } },
  { name: "dit-xl-2", dims: { batch_size: 2 } },
  { name: "sdxl-unet", dims: latents(128) },
];

/** Seconds a target may take from the file to the verdict. */
const LIMIT = 60;

/** The architectures without their weights: legalised and checked for every target, and what would leave the accelerator. */
export const checkSkeletons: BenchCase = {
  name: "check-skeletons",
  title: "what every target would do with the large architectures",
  needs: SKELETONS.map((s) => `skeletons/${s.name}.onnx`),
  async run({ models, scratch, say }) {
    const rows: Cell[][] = [];
    const checks = [];
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
      const { value } = await runScript<CheckedSkeleton[]>("check-skeleton.ts", { model, dims });
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
      }
      const slowest = Math.max(...value.map((c) => c.shared + c.seconds));
      checks.push({
        name: `${name}, slowest target`,
        value: slowest,
        relation: "<=",
        limit: LIMIT,
        unit: "s",
      } as const);
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
        "Seconds: reading, the exact passes all targets share, legalisation, check; each target as if it were alone.",
      ],
    };
  },
};
