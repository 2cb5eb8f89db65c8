import type { VerifyResult } from "../../src/index.ts";
import { decibel, paint } from "./format.ts";
import { table } from "./table.ts";

const out = process.stdout;
type Trajectory = Extract<VerifyResult, { kind: "trajectory" }>;

function range(interval: readonly [number, number], show: (x: number) => string): string {
  return `${show(interval[0])} … ${show(interval[1])}`;
}

function trajectory(r: Trajectory): string {
  const db = (x: number): string => x.toFixed(1);
  const rows = r.settings.map((s) => [
    s.name,
    `${s.sampler}, ${s.steps} steps, guidance ${s.guidance}`,
    String(s.seeds),
    decibel(s.sqnr.mean),
    range(s.sqnr.interval, db),
    `${db(s.sqnr.worst.sqnr)} at t=${s.sqnr.worst.timestep}`,
    db(s.psnr.median),
    s.ssim.median.toFixed(4),
    s.conditioning === null ? "–" : s.conditioning.follows ? "follows" : paint("red", "lost", out),
  ]);
  const main = r.settings[0]!;
  const lines = [
    `${paint("bold", r.component, out)}${main.sqnr.lossless ? "  lossless: within the noise floor" : ""}`,
    "",
    table(["setting", "", "seeds", "SQNR", "95 %", "worst step", "PSNR", "SSIM", "condition"], rows),
    "",
    table(
      [
        "timestep",
        "SQNR",
        "drift",
        ...(main.conditioning === null ? [] : ["conditioning", "norm ratio", "cosine"]),
      ],
      main.sqnr.steps.map((s, i) => {
        const c = main.conditioning?.steps[i];
        return [
          String(s.timestep),
          `${db(s.sqnr)}${s.lossless ? " =" : ""}`,
          db(main.drift[i]?.sqnr ?? Number.NaN),
          ...(c === undefined ? [] : [db(c.sqnr), c.ratio.toFixed(3), c.cosine.toFixed(4)]),
        ];
      }),
      ["right", "right", "right", "right", "right", "right"],
    ),
    "",
    `noise floor ${decibel(r.noiseFloor.mean)} (${r.noiseFloor.variants.map((v) => `${v.name} ${db(v.mean)}`).join(", ")})`,
    `optimised against unoptimised session: ${decibel(r.agreement.mean)}, ${r.agreement.agrees ? "agrees" : paint("red", "differs", out)}`,
  ];
  if (r.conditions === "synthetic")
    lines.push(paint("yellow", "conditions are synthetic: these figures say nothing about quality", out));
  for (const o of r.omitted) lines.push(`left out ${o.setting}: ${o.why}`);
  return lines.join("\n");
}

function onInputs(r: Extract<VerifyResult, { kind: "inputs" }>): string {
  return table(
    ["output", "largest error", "relative", "SQNR"],
    r.outputs.map((o) => [o.name, o.maxAbs.toExponential(2), o.maxRel.toExponential(2), decibel(o.sqnr)]),
    ["left", "right", "right", "right"],
  );
}

/** A verification for people. */
export function renderVerification(r: VerifyResult): string {
  const twins = r.twins.map(
    ({ model, operators }) =>
      `no CPU kernel for ${operators.join(", ")} in ${model}: figures are those of a twin with standard operators in their place`,
  );
  return [r.kind === "trajectory" ? trajectory(r) : onInputs(r), ...twins].join("\n");
}
