import type { Judged } from "./fidelity.ts";
import type { Cell } from "./table.ts";

/** Headings of {@link judgedRow}. */
export const JUDGED_COLUMNS = [
  "pipeline",
  "build",
  "MB",
  "SQNR mean dB",
  "worst step",
  "PSNR median",
  "p10",
  "speed, one thread [95 %]",
] as const;

const dash = (value: number | undefined): Cell => (value === undefined ? "–" : value.toFixed(1));

/** One judged file as a row of a table. */
export function judgedRow(pipeline: string, build: string, judged: Judged): Cell[] {
  const { fidelity: f, speed: s } = judged;
  const speed = s === null ? "–" : `${s.ratio.toFixed(2)}× [${s.low.toFixed(2)}, ${s.high.toFixed(2)}]`;
  return [
    pipeline,
    build,
    (judged.bytes / 1e6).toFixed(2),
    dash(f?.sqnrMean),
    dash(f?.sqnrWorst),
    dash(f?.psnrMedian),
    dash(f?.psnrP10),
    speed,
  ];
}
