import { join } from "node:path";
import { TRAINED } from "../cases/shapes.ts";
import { type Build, build } from "./build.ts";
import type { BenchCase, BenchContext, CaseResult, Check } from "./case.ts";
import { type Judged, judgeModels } from "./fidelity.ts";
import { JUDGED_COLUMNS, judgedRow } from "./judged-row.ts";
import { PEERS, peersOf } from "./peers.ts";
import type { Cell } from "./table.ts";

/** Limits one build has to keep on one pipeline; what is left out is not checked. */
export interface Limits {
  readonly bytes?: number;
  /** Mean over steps and the worst step of the teacher-forced SQNR, and the median PSNR, in dB. */
  readonly mean?: number;
  readonly worst?: number;
  readonly psnr?: number;
  /** × the original, one thread. */
  readonly speed?: number;
}

/** A build to judge: a preset by name, or a recipe file below `bench/recipes`. */
export interface QuantizedBuild {
  readonly label: string;
  readonly preset?: string;
  readonly recipe?: string;
  /** By pipeline. */
  readonly limits: Readonly<Record<string, Limits>>;
  /** Peers that the build has to beat in mean, worst step, PSNR and speed in the same run. */
  readonly beats?: readonly string[];
}

/** What a case on quantized builds compares. */
export interface QuantizedCase {
  readonly name: string;
  readonly title: string;
  readonly builds: readonly QuantizedBuild[];
  /** Builds of ONNX Runtime's tools in the same run; those a pipeline lacks are left out. */
  readonly peers: readonly string[];
}

/** A figure of a judged build with where its limit is found. */
interface Figure {
  readonly key: Exclude<keyof Limits, "bytes">;
  readonly label: string;
  readonly unit: string;
  readonly of: (j: Judged) => number;
}

const FIGURES: readonly Figure[] = [
  { key: "mean", label: "mean SQNR", unit: "dB", of: (j) => j.fidelity!.sqnrMean },
  { key: "worst", label: "worst step", unit: "dB", of: (j) => j.fidelity!.sqnrWorst },
  { key: "psnr", label: "median PSNR", unit: "dB", of: (j) => j.fidelity!.psnrMedian },
  { key: "speed", label: "speed", unit: "× original", of: (j) => j.speed!.ratio },
];

/** The checks of one build: its own limits, then the peers it has to beat. */
function checksOf(
  label: string,
  judged: Judged,
  limits: Limits,
  rivals: readonly { readonly name: string; readonly judged: Judged }[],
): Check[] {
  const checks: Check[] = [];
  if (limits.bytes !== undefined)
    checks.push({
      name: `${label}, size`,
      value: judged.bytes / 1e6,
      relation: "<=",
      limit: limits.bytes / 1e6,
      unit: "MB",
    });
  const atLeast = (name: string, f: Figure, limit: number): void => {
    checks.push({ name, value: f.of(judged), relation: ">=", limit, unit: f.unit });
  };
  for (const f of FIGURES) {
    const limit = limits[f.key];
    if (limit !== undefined) atLeast(`${label}, ${f.label}`, f, limit);
  }
  for (const rival of rivals)
    for (const f of FIGURES) atLeast(`${label}, ${f.label} beside ${rival.name}`, f, f.of(rival.judged));
  return checks;
}

async function make(context: BenchContext, pipeline: string, b: QuantizedBuild): Promise<Build> {
  const component = TRAINED.find((t) => t.name === pipeline)!.component;
  context.say(`${pipeline}: compiling ${b.label}`);
  return await build({
    source: join(context.models, pipeline),
    out: context.scratch.fresh(`${pipeline}-${b.label}`),
    component,
    ...(b.preset !== undefined && { preset: b.preset }),
    ...(b.recipe !== undefined && { recipe: join("bench/recipes", b.recipe) }),
  });
}

async function runOn(context: BenchContext, spec: QuantizedCase, pipeline: string): Promise<CaseResult> {
  const rivals = peersOf(context.models, pipeline).filter((p) => spec.peers.includes(p.name));
  const made: Build[] = [];
  for (const b of spec.builds) made.push(await make(context, pipeline, b));
  context.say(`${pipeline}: judging ${made.length} builds and ${rivals.length} of ONNX Runtime's tools`);
  const judged = await judgeModels({
    pipeline: join(context.models, pipeline),
    models: [...made.map((m) => m.model), ...rivals.map((r) => r.path)],
  });
  for (const m of made) context.scratch.drop(m.out);
  const ours = judged.slice(0, made.length);
  const theirs = rivals.map((r, i) => ({ name: r.name, judged: judged[made.length + i]! }));
  const rows: Cell[][] = [
    ...ours.map((j, i): Cell[] => [
      ...judgedRow(pipeline, spec.builds[i]!.label, j),
      made[i]!.measured.seconds,
      made[i]!.measured.peakBytes / 2 ** 20,
    ]),
    ...theirs.map((t): Cell[] => [...judgedRow(pipeline, t.name, t.judged), "–", "–"]),
  ];
  const checks = ours.flatMap((j, i) => {
    const b = spec.builds[i]!;
    const beaten = theirs.filter((t) => b.beats?.includes(t.name));
    return checksOf(`${pipeline} ${b.label}`, j, b.limits[pipeline] ?? {}, beaten);
  });
  return {
    columns: [...JUDGED_COLUMNS, "compile s", "compile peak MiB"],
    rows,
    checks,
    commands: made.map((m) => m.command),
  };
}

/** A case that builds the trained pipelines, judges the builds beside peers in one run and checks the limits. */
export function quantizedCase(spec: QuantizedCase): BenchCase {
  return {
    name: spec.name,
    title: spec.title,
    needs: ["cifar-unet", "cifar-dit", PEERS],
    async run(context) {
      const results: CaseResult[] = [];
      for (const t of TRAINED) results.push(await runOn(context, spec, t.name));
      return {
        columns: results[0]!.columns,
        rows: results.flatMap((r) => r.rows),
        checks: results.flatMap((r) => r.checks),
        commands: results.flatMap((r) => r.commands),
        notes: [
          "24 seeds, 20 DDIM steps, guidance 2.5. Speed: batch 16, one thread, the original, our builds and those of ONNX Runtime's tools in turn in one process. MB: the denoiser's files.",
        ],
      };
    },
  };
}
