import { createHash } from "node:crypto";
import { join } from "node:path";
import { build, files } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { TRAINED } from "./shapes.ts";

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The same bytes from every run, whatever the number of worker threads. */
export const workers: BenchCase = {
  name: "workers",
  title: "same bytes with 1 and 4 workers",
  needs: ["cifar-unet"],
  async run({ models, scratch, say }) {
    const t = TRAINED[0]!;
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const preset of ["exact", "fp16", "w8", "w4"]) {
      const digests: Map<string, string>[] = [];
      for (const count of [1, 4, 1]) {
        say(`${preset}, ${count} worker(s)`);
        const made = await build({
          source: join(models, t.name),
          out: scratch.fresh(`workers-${preset}`),
          preset,
          component: t.component,
          extra: ["--workers", String(count)],
        });
        const found = new Map<string, string>();
        for (const [file, bytes] of files(made.out)) {
          if (file.startsWith("cpu-x64") || file === "manifest.json") found.set(file, digest(bytes));
        }
        digests.push(found);
        if (count === 4) commands.push(made.command);
        scratch.drop(made.out);
      }
      const first = digests[0]!;
      const differing = digests
        .slice(1)
        .flatMap((d) => [...first.keys()].filter((file) => d.get(file) !== first.get(file)));
      rows.push([
        preset,
        first.size,
        first.get("manifest.json")?.slice(0, 16) ?? "no manifest",
        differing.length,
      ]);
      checks.push({
        name: `${preset} differing files`,
        value: differing.length,
        relation: "<=",
        limit: 0,
        unit: "files",
      });
    }
    return {
      columns: ["preset", "files compared", "sha256 of manifest.json", "differing"],
      rows,
      checks,
      commands,
    };
  },
};
