import { rmSync } from "node:fs";
import { join } from "node:path";
import { compile, type Recipe, verify } from "../../src/index.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import { interleave } from "../lib/pair.ts";
import type { Plot } from "../lib/plot.ts";
import { decisionsOf } from "../lib/quality.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** Trajectories that calibrate and, from another stream, that judge. */
const SAMPLES = 8;
const SEEDS = 8;
const RATIOS = [0.15, 0.2, 0.25, 0.3];
/** The cut whose speed is measured and that is made in rounds. */
const MAIN = 0.25;
const ROUNDS = 4;
/** What a quarter of the FLOPs has to bring, and the repair over plain magnitudes. */
const LEAST_SPEEDUP = 1.2;
const AIM_DB = 12;
/** Batches the speed is measured at: that of the other benches on builds, which is checked, and one image with guidance. */
const BATCHES = [16, 2] as const;

/** Why rounds need not gain. */
const ROUNDS_WHY =
  "fails: damage is measured group by group and later layers are refit behind earlier ones in one round too, and every further round fits the same few samples again";

const L1 = { score: "magnitude", repair: false, allocate: "uniform" } as const;

/** One way to prune. */
interface Way {
  readonly name: string;
  readonly options: Readonly<Record<string, string | number | boolean>>;
  readonly ratios: readonly number[];
}

const WAYS: readonly Way[] = [
  { name: "L1, no repair", options: L1, ratios: RATIOS },
  { name: "OBS, repair", options: {}, ratios: RATIOS },
  { name: `OBS, repair, ${ROUNDS} rounds`, options: { rounds: ROUNDS }, ratios: [MAIN] },
];

/** One build and what it is worth. */
interface Found {
  readonly saved: string;
  readonly model: string;
  readonly mean: number;
  readonly worst: number;
  readonly psnr: number;
}

async function built(
  context: BenchContext,
  t: Trained,
  label: string,
  passes: Recipe["passes"],
): Promise<string> {
  const out = join(context.scratch.fresh(`${t.name}-${label}`), "build");
  rmSync(out, { recursive: true, force: true });
  const recipe: Recipe = {
    extends: "exact",
    ...(passes !== undefined && { passes }),
    calibration: { samples: SAMPLES },
    targets: { "cpu-x64": {} },
  };
  const { report } = await compile(join(context.models, t.name), { recipe, out, verify: false });
  const why = decisionsOf(report, t.component, "prune-structures").find((d) => d.node === "")?.why;
  context.say(`${t.name}, ${label}: ${why ?? "exact"}`);
  return out;
}

async function judged(context: BenchContext, t: Trained, way: Way, ratio: number): Promise<Found> {
  const options = { ratio, dims: t.dims, ...way.options };
  const label = `${way.name.replaceAll(/\W+/g, "-")}-${ratio * 100}`;
  const out = await built(context, t, label, ["clean", { "prune-structures": options }]);
  const model = join(out, "cpu-x64", t.component, "model.onnx");
  const found = await verify(join(context.models, t.name), model, { seeds: SEEDS, settings: [], batch: 8 });
  if (found.kind !== "trajectory") throw new Error("the pipeline was not sampled");
  const main = found.settings[0]!;
  return {
    saved: `${Math.round(ratio * 100)} %`,
    model,
    mean: main.sqnr.mean,
    worst: main.sqnr.worst.sqnr,
    psnr: main.psnr.median,
  };
}

/** Structured pruning of both pipelines: quality against the share of FLOPs cut, and speed of one cut. */
export const pruneShapes: BenchCase = {
  name: "prune-shapes",
  title: "structured pruning: magnitude collapses, brain surgeon with repair holds",
  needs: ["cifar-unet", "cifar-dit"],
  async run(context) {
    const rows: (string | number)[][] = [];
    const checks: Check[] = [];
    const plots: Plot[] = [];
    for (const t of TRAINED) {
      const series: { name: string; points: [number, number][] }[] = [];
      const main = new Map<string, Found>();
      for (const way of WAYS) {
        const points: [number, number][] = [];
        for (const ratio of way.ratios) {
          const f = await judged(context, t, way, ratio);
          rows.push([t.name, way.name, f.saved, f.mean.toFixed(2), f.worst.toFixed(2), f.psnr.toFixed(2)]);
          context.say(`${f.mean.toFixed(2)} dB mean, ${f.worst.toFixed(2)} worst, PSNR ${f.psnr.toFixed(2)}`);
          points.push([ratio * 100, f.mean]);
          if (ratio === MAIN) main.set(way.name, f);
        }
        series.push({ name: way.name, points });
      }
      plots.push({
        name: t.name,
        title: `${t.name}: teacher-forced SQNR of pruned builds`,
        x: "FLOPs cut (%)",
        y: "mean SQNR (dB)",
        series,
      });
      const [l1, obs, iterated] = WAYS.map((w) => main.get(w.name)!);
      const gain = Math.max(obs!.mean, iterated!.mean) - l1!.mean;
      const rounds = iterated!.mean - obs!.mean;
      rows.push([
        t.name,
        `${ROUNDS} rounds over one: ${rounds > 0 ? "holds" : ROUNDS_WHY}`,
        "25 %",
        `${rounds >= 0 ? "+" : ""}${rounds.toFixed(2)}`,
        (iterated!.worst - obs!.worst).toFixed(2),
        (iterated!.psnr - obs!.psnr).toFixed(2),
      ]);
      checks.push({
        name: `${t.name}, repair over L1 at 25 %`,
        value: gain,
        relation: ">=",
        limit: AIM_DB,
        unit: "dB",
      });
      const exact = join(await built(context, t, "exact", undefined), "cpu-x64", t.component, "model.onnx");
      for (const batch of BATCHES) {
        const dims = { ...t.dims, batch_size: batch };
        const timing = { original: exact, dims, threads: 1, warmup: 10, runs: 120 };
        const { speedup } = await interleave({ ...timing, build: obs!.model });
        const range = `[${speedup.low.toFixed(3)}, ${speedup.high.toFixed(3)}]`;
        rows.push([
          t.name,
          `speed, one thread, batch ${batch}`,
          "25 %",
          `${speedup.median.toFixed(3)}× ${range}`,
          "",
          "",
        ]);
        if (batch === BATCHES[0])
          checks.push({
            name: `${t.name}, speed at 25 %, batch ${batch}`,
            value: speedup.median,
            relation: ">=",
            limit: LEAST_SPEEDUP,
            unit: "× exact",
          });
      }
    }
    return {
      columns: ["pipeline", "method", "FLOPs cut", "mean SQNR dB", "worst step dB", "PSNR dB"],
      rows,
      checks,
      plots,
      commands: ["diffpress compile cifar-unet --recipe prune.yaml --target cpu-x64 -o out"],
      notes: [
        `Heads, neurons and inner channels together (\`prune-structures\`); ${SAMPLES} trajectories calibrate, ${SEEDS} others judge.`,
      ],
    };
  },
};
