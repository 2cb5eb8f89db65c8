import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { type Measured, runScript } from "../lib/child.ts";
import { interleave } from "../lib/pair.ts";
import { countFileNodes, fixShapes } from "../lib/proto.ts";
import { median } from "../lib/stats.ts";
import { TRAINED } from "./shapes.ts";

const RUNS = 3;

/** Nodes left and time taken against onnxsim on the same file with the same fixed shape; both are whole processes. */
export const onnxsim: BenchCase = {
  name: "onnxsim",
  title: "nodes and time against onnxsim at the same fixed shape",
  needs: ["cifar-unet", "cifar-dit"],
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const t of TRAINED) {
      const original = join(models, t.name, t.component, "model.onnx");
      const dir = scratch.fresh(`onnxsim-${t.name}`);
      mkdirSync(dir, { recursive: true });
      const input = join(dir, "fixed.onnx");
      const output = join(dir, "simplified.onnx");
      writeFileSync(input, fixShapes(original, t.dims));
      const theirs: Measured[] = [];
      const ours: Measured[] = [];
      let last = { model: "", command: "" };
      for (let i = 0; i < RUNS; i++) {
        say(`${t.name}, run ${i + 1} of ${RUNS}`);
        theirs.push((await runScript("simplify.ts", { input, output })).measured);
        const made = await build({ source: original, out: join(dir, "out"), preset: "exact", shape: t.dims });
        ours.push(made.measured);
        last = made;
      }
      const simplified = countFileNodes(output);
      const left = countFileNodes(last.model);
      say(`${t.name}, speed`);
      const { speedup } = await interleave({
        original: output,
        build: last.model,
        dims: t.dims,
        threads: 1,
        warmup: 10,
        runs: 60,
      });
      rows.push([
        t.name,
        countFileNodes(original),
        simplified,
        left,
        median(theirs.map((m) => m.seconds)),
        median(ours.map((m) => m.seconds)),
        median(theirs.map((m) => m.cpuSeconds)),
        median(ours.map((m) => m.cpuSeconds)),
        `${speedup.median.toFixed(3)} [${speedup.low.toFixed(3)}, ${speedup.high.toFixed(3)}]`,
      ]);
      checks.push(
        {
          name: `${t.name} nodes`,
          value: left,
          relation: "<=",
          limit: Math.min(simplified, t.simplified) - 1,
          unit: "nodes",
        },
        {
          name: `${t.name} time`,
          value: median(ours.map((m, i) => m.seconds / theirs[i]!.seconds)),
          relation: "<=",
          limit: 1,
          unit: "× onnxsim",
        },
      );
      commands.push(last.command);
      scratch.drop(dir);
    }
    return {
      columns: [
        "pipeline",
        "nodes",
        "onnxsim nodes",
        "diffpress nodes",
        "onnxsim s",
        "diffpress s",
        "onnxsim processor s",
        "diffpress processor s",
        "speed over onnxsim's result, 1 thread [95 %]",
      ],
      rows,
      checks,
      commands: [...commands, "onnxsim 0.7.3 (npm): simplify(readFileSync(FIXED))"],
    };
  },
};
