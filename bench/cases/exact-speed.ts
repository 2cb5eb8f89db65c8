import { join } from "node:path";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { interleave } from "../lib/pair.ts";
import { TRAINED } from "./shapes.ts";

/** Exact builds of the trained pipelines against the original files, runs interleaved. */
export const exactSpeed: BenchCase = {
  name: "exact-speed",
  title: "speed of exact builds, runs interleaved with the original",
  needs: ["cifar-unet", "cifar-dit"],
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const t of TRAINED) {
      const source = join(models, t.name);
      const original = join(source, t.component, "model.onnx");
      for (const shape of [undefined, t.dims]) {
        const label = shape === undefined ? "symbolic" : "fixed";
        const made = await build({
          source,
          out: scratch.fresh(t.name),
          preset: "exact",
          component: t.component,
          ...(shape && { shape }),
        });
        commands.push(made.command);
        for (const threads of [1, 2]) {
          say(`${t.name}, ${label} shape, ${threads} thread(s)`);
          const r = await interleave({
            original,
            build: made.model,
            dims: t.dims,
            threads,
            warmup: 10,
            runs: 120,
          });
          const s = r.speedup;
          rows.push([
            t.name,
            label,
            threads,
            r.original * 1e3,
            r.build * 1e3,
            `${s.median.toFixed(3)} [${s.low.toFixed(3)}, ${s.high.toFixed(3)}]`,
          ]);
          const name = `${t.name} ${label}, ${threads} thread(s)`;
          checks.push({ name, value: s.median, relation: ">=", limit: 1, unit: "× original" });
        }
        scratch.drop(made.out);
      }
    }
    return {
      columns: ["pipeline", "shape", "threads", "original ms", "build ms", "speedup [95 %]"],
      rows,
      checks,
      commands,
    };
  },
};
