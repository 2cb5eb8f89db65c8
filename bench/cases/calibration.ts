import { join } from "node:path";
import type { BenchCase, Check } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";

const SAMPLES = [8, 32, 128] as const;
const LIMITS = { values: 4, gram: 10 } as const;
const TITLES = { sample: "sampling only", values: "value statistics", gram: "and Gram matrices" } as const;

/** Statistics of every layer of the two trained models against sampling the same trajectories. */
export const calibration: BenchCase = {
  name: "calibration",
  title: "calibration: processor time against plain sampling, memory against the number of samples",
  needs: ["cifar-unet", "cifar-dit"],
  memory: 4e9,
  async run({ models, say }) {
    const rows: (string | number)[][] = [];
    const checks: Check[] = [];
    for (const model of ["cifar-unet", "cifar-dit"]) {
      const peaks: Record<string, number[]> = { values: [], gram: [] };
      for (const samples of SAMPLES) {
        let plain = 0;
        for (const mode of ["sample", "values", "gram"] as const) {
          say(`${model}, ${samples} samples, ${TITLES[mode]}`);
          const { value, measured } = await runScript<{ cpu: number }>("calibrate.ts", {
            pipeline: join(models, model),
            samples,
            mode,
          });
          if (mode === "sample") plain = value.cpu;
          else peaks[mode]!.push(measured.peakBytes);
          const ratio = value.cpu / plain;
          rows.push([model, samples, TITLES[mode], value.cpu, ratio, measured.peakBytes / 2 ** 20]);
          // The fixed costs of a few samples (loading, the products behind the ranks) are part of the figure.
          if (mode !== "sample" && samples === 32)
            checks.push({
              name: `${model} ${TITLES[mode]}, processor time`,
              value: ratio,
              relation: "<=",
              limit: LIMITS[mode],
              unit: "× sampling",
            });
        }
      }
      for (const mode of ["values", "gram"] as const) {
        const found = peaks[mode]!;
        const middle = (Math.max(...found) + Math.min(...found)) / 2;
        checks.push({
          name: `${model} ${TITLES[mode]}, spread of the peak over 8, 32 and 128 samples`,
          value: (100 * (Math.max(...found) - middle)) / middle,
          relation: "<=",
          limit: 10,
          unit: "± %",
        });
      }
    }
    return {
      columns: ["model", "samples", "what", "CPU s", "× sampling", "peak RSS MiB"],
      rows,
      checks,
      commands: ["npm run bench -- --only calibration"],
      notes: [
        "20 DDIM steps, guidance of the pipeline, eight trajectories a run, one thread; input and output of every layer.",
      ],
    };
  },
};
