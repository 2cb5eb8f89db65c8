import { join } from "node:path";
import type { BenchCase } from "../lib/case.ts";
import { judgeModels } from "../lib/fidelity.ts";
import { JUDGED_COLUMNS, judgedRow } from "../lib/judged-row.ts";
import { machine } from "../lib/machine.ts";
import { PEERS, peersOf } from "../lib/peers.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED } from "./shapes.ts";

/** Integer dot products without which 8-bit kernels take a detour and s8 weights saturate. */
const DOT_PRODUCTS = ["avx512_vnni", "avx_vnni", "amx_int8"];

/** ONNX Runtime's own quantized builds, measured here beside what is recorded for them. */
export const peers: BenchCase = {
  name: "peers",
  title: "what ONNX Runtime's own quantization tools make of the trained pipelines",
  needs: ["cifar-unet", "cifar-dit", PEERS],
  async run({ models, say }) {
    const rows: Cell[][] = [];
    const commands: string[] = [];
    for (const { name } of TRAINED) {
      const files = peersOf(models, name);
      say(`${name}: judging ${files.length} builds`);
      const judged = await judgeModels({
        pipeline: join(models, name),
        models: files.map((f) => f.path),
      });
      for (const [i, file] of files.entries()) {
        const r = file.recorded;
        rows.push([
          ...judgedRow(name, file.name, judged[i]!),
          r === null ? "–" : `${r.sqnr_mean_db} / ${r.sqnr_worst_step_db}`,
          r === null ? "–" : String(r.psnr_median_db),
          r === null ? "–" : `${r.speed_vs_fp32_1_thread}×`,
        ]);
      }
      commands.push(`npx tsx bench/child/judge.ts ${name} peers/${name}/*.onnx`);
    }
    const { isa } = machine();
    const dot = DOT_PRODUCTS.filter((f) => isa.includes(f));
    return {
      columns: [...JUDGED_COLUMNS, "recorded SQNR", "recorded PSNR", "recorded speed"],
      rows,
      checks: [],
      commands,
      notes: [
        `Instruction sets: ${isa.join(", ")}; ` +
          (dot.length > 0
            ? `8-bit dot products: ${dot.join(", ")}.`
            : "no 8-bit dot product, so s8 weights of full range saturate against u8 activations."),
        "24 seeds, 20 DDIM steps, guidance 2.5; 8 samples judged together, which matters to dynamic builds: their scales are taken over the batch. Speed: batch 16, all files and the original in turn in one process.",
        "Recorded: figures that came with the files, from another machine and other seeds.",
      ],
    };
  },
};
