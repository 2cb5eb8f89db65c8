import { join } from "node:path";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { interleave } from "../lib/pair.ts";
import { TRAINED } from "./shapes.ts";

/** Integer builds for the CPU against exact builds for the CPU: what integers gain beyond what the clean graph does. */
export const integerSpeed: BenchCase = {
  name: "integer-speed",
  title: "integer CPU builds beside exact CPU builds",
  needs: TRAINED.map((t) => t.name),
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const t of TRAINED) {
      const make = (preset: string) =>
        build({
          source: join(models, t.name),
          out: scratch.fresh(`${t.name}-${preset}`),
          preset,
          component: t.component,
        });
      say(`${t.name}: compiling`);
      const [exact, integer] = [await make("exact"), await make("balanced")];
      commands.push(exact.command, integer.command);
      for (const threads of [1, 2]) {
        say(`${t.name}, ${threads} thread(s)`);
        const r = await interleave({
          original: exact.model,
          build: integer.model,
          dims: t.dims,
          threads,
          warmup: 10,
          runs: 120,
        });
        const { median, low, high } = r.speedup;
        const shown = `${median.toFixed(2)}× [${low.toFixed(2)}, ${high.toFixed(2)}]`;
        rows.push([t.name, threads, r.original * 1e3, r.build * 1e3, shown]);
        const name = `${t.name}, ${threads} thread(s)`;
        checks.push({ name, value: median, relation: ">=", limit: 1, unit: "× exact build" });
      }
      scratch.drop(exact.out);
      scratch.drop(integer.out);
    }
    return {
      columns: ["pipeline", "threads", "exact ms", "balanced ms", "speedup [95 %]"],
      rows,
      checks,
      commands,
    };
  },
};
