import { join } from "node:path";
import { InferenceSession } from "onnxruntime-node";
import { readModel } from "../../src/ir/onnx/index.ts";
import { rooflineCost } from "../../src/targets/cost/roofline.ts";
import { target } from "../../src/targets/index.ts";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { seededFeeds } from "../lib/feeds.ts";
import { nodeSeconds, rankCorrelation } from "../lib/profile.ts";
import { TRAINED } from "./shapes.ts";

const RUNS = 300;

/** Estimates of the CPU cost table against onnxruntime's profile, node by node. */
export const cpuCostCase: BenchCase = {
  name: "cpu-cost",
  title: "CPU cost table against measured kernel times, one thread",
  needs: ["cifar-unet", "cifar-dit"],
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const t of TRAINED) {
      const made = await build({
        source: join(models, t.name),
        out: scratch.fresh(t.name),
        preset: "exact",
        component: t.component,
        shape: t.dims,
      });
      commands.push(made.command);
      const model = await readModel(made.model);
      const estimate = rooflineCost(model, target("cpu-x64"))!;
      say(`${t.name}: profiling ${RUNS} runs`);
      // Above `extended` the runtime changes layouts and renames nodes, so that they cannot be told apart.
      const prefix = join(made.out, "profile");
      const session = await InferenceSession.create(made.model, {
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        graphOptimizationLevel: "extended",
        enableProfiling: true,
        profileFilePrefix: prefix,
      });
      const feeds = seededFeeds(session, t.dims);
      for (let i = 0; i < RUNS; i++) await session.run(feeds);
      session.endProfiling();
      await session.release();
      const measured = nodeSeconds(prefix);
      const pairs = [...model.graph.nodes()].flatMap((n) => {
        const [m, e] = [measured.get(n.name), estimate.nodes.get(n.id)?.seconds];
        return m === undefined || e === undefined ? [] : [{ m, e }];
      });
      const sum = (pick: (p: { m: number; e: number }) => number): number =>
        pairs.reduce((s, p) => s + pick(p), 0);
      const rank = rankCorrelation(
        pairs.map((p) => p.m),
        pairs.map((p) => p.e),
      );
      const [m, e] = [sum((p) => p.m), sum((p) => p.e)];
      rows.push([t.name, pairs.length, m * 1e3, e * 1e3, rank.toFixed(3)]);
      checks.push({
        name: `${t.name}, rank correlation`,
        value: rank,
        relation: ">=",
        limit: 0.85,
        unit: "",
      });
      checks.push({
        name: `${t.name}, estimate off by`,
        value: Math.max(m / e, e / m),
        relation: "<=",
        limit: 2,
        unit: "×",
      });
      scratch.drop(made.out);
    }
    return {
      columns: ["pipeline", "nodes", "measured ms", "estimated ms", "rank correlation"],
      rows,
      checks,
      commands,
      notes: [
        "Measured: mean of the faster half of the runs of each node's kernel time, graph optimisation `extended`. Rank correlation: Spearman over nodes. The table is fitted to cifar-unet alone; cifar-dit shows how far it carries.",
      ],
    };
  },
};
