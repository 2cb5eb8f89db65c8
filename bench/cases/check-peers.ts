import { join } from "node:path";
import { checkTarget, type Model, readModel } from "../../src/index.ts";
import { createRuntime, optimizedOps } from "../../src/runtime/index.ts";
import type { BenchCase } from "../lib/case.ts";
import type { Dims } from "../lib/feeds.ts";
import { PEERS, peersOf } from "../lib/peers.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED } from "./shapes.ts";

const TARGETS = ["cpu-x64", "tensorrt", "webgpu", "qnn-htp"];

/** Lengths of the open axes of a model's inputs: by their names where these have one, else the batch. */
function lengthsOf(model: Model, dims: Dims): Record<string, number> {
  const out: Record<string, number> = {};
  for (const id of model.graph.inputs) {
    const { name, type } = model.graph.value(id);
    if (type?.kind !== "tensor") continue;
    for (const [axis, dim] of (type.shape ?? []).entries())
      if (typeof dim === "string") out[`${name}.${axis}`] = dims[dim] ?? dims["batch_size"] ?? 1;
  }
  return out;
}

/** Integer convolutions of the graph a session runs, and convolutions the checker calls quantized. */
const FUSED = "com.microsoft:QLinearConv";

/** ONNX Runtime's own quantized builds under the checker: known faults are found and name their nodes. */
export const checkPeers: BenchCase = {
  name: "check-peers",
  title: "the checker on builds of ONNX Runtime's own quantization tools",
  needs: ["cifar-unet", "cifar-dit", PEERS],
  async run({ models, say }) {
    const rows: Cell[][] = [];
    const runtime = await createRuntime({ workers: 0 });
    let [unsigned, wrong, unfused] = [0, 0, 0];
    try {
      for (const { name, dims } of TRAINED)
        for (const peer of peersOf(models, name)) {
          say(`${name}, ${peer.name}`);
          const known = lengthsOf(await readModel(peer.path), dims);
          const checks = await checkTarget(join(models, PEERS, name, `${peer.name}.onnx`), {
            targets: TARGETS,
            shape: known,
          });
          const cpu = checks[0]!;
          const claimed = cpu.nodes.filter((n) => n.op === "Conv" && n.verdict === "quantized").length;
          const real = (await optimizedOps(runtime, peer.path)).get(FUSED) ?? 0;
          wrong += Math.abs(claimed - real);
          unfused += cpu.findings.filter((f) => f.rule === "GEN-9" && f.node !== "").length;
          unsigned += checks[1]!.findings.filter(
            (f) => f.rule === "TRT-1" && f.why.includes("converts u8") && f.node !== "",
          ).length;
          for (const c of checks) {
            const by = new Map<string, { n: number; first: string }>();
            for (const f of c.findings) {
              const line = by.get(f.rule) ?? { n: 0, first: f.node };
              by.set(f.rule, { n: line.n + 1, first: line.first });
            }
            rows.push([
              name,
              peer.name,
              c.target,
              c.counts.reject,
              c.verdicts.quantized,
              c.verdicts.float,
              c.verdicts.leaves,
              c.flops === null ? "–" : 100 * c.flops.share,
              [...by]
                .map(([rule, { n, first }]) => `${rule} × ${n}${first === "" ? "" : ` (${first} …)`}`)
                .join("; ") || "–",
            ]);
          }
        }
    } finally {
      await runtime.close();
    }
    return {
      columns: [
        "network",
        "build",
        "target",
        "rejects",
        "quantized",
        "float",
        "leave",
        "FLOPs on it, %",
        "rules broken, at",
      ],
      rows,
      checks: [
        {
          name: "u8 conversions named for TensorRT",
          value: unsigned,
          relation: ">=",
          limit: 1,
          unit: "nodes",
        },
        {
          name: "operators that stay float on CPU between conversions",
          value: unfused,
          relation: ">=",
          limit: 1,
          unit: "nodes",
        },
        {
          name: "convolutions the checker calls integer and the session does not, or the reverse",
          value: wrong,
          relation: "<=",
          limit: 0,
          unit: "nodes",
        },
      ],
      commands: [
        "diffpress check-target peers/cifar-unet/ort-static-qdq-u8s8-per-channel.onnx --target cpu-x64,tensorrt",
      ],
    };
  },
};
