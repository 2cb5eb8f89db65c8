import type { StatisticsSummary } from "../../src/index.ts";
import { count, paint } from "./format.ts";
import { table } from "./table.ts";

const NUMBERS = ["left", "right", "right", "right", "right", "right"] as const;

function number(x: number): string {
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  return x === 0 ? "0" : x.toPrecision(3);
}

/** Statistics as tables: what was sampled, every value, every Gram. */
export function renderStatistics(s: StatisticsSummary): string {
  const { settings } = s;
  const lines = [
    `${paint("bold", "statistics", process.stdout)}  ${settings.samples} samples, ${settings.steps} steps of ${settings.sampler}, guidance ${settings.guidance}, seed ${settings.seed}, ${s.calls} calls`,
    "",
    table(
      ["value", "channels", "min", "max", "range ratio", "outlier ratio"],
      s.values.map((v) => [
        v.name,
        count(v.channels),
        number(v.min),
        number(v.max),
        number(v.rangeRatio),
        number(v.outlierRatio),
      ]),
      NUMBERS,
    ),
    "range ratio: largest over smallest absolute maximum of the calls; outlier ratio: largest over median channel.",
  ];
  if (s.grams.length === 0) return lines.join("\n");
  lines.push(
    "",
    table(
      ["layer", "size", "positions", "rank", ""],
      s.grams.map((g) => [
        g.layer,
        count(g.size),
        count(g.positions),
        count(g.rank),
        g.exact ? "" : "taps summed apart",
      ]),
      NUMBERS,
    ),
  );
  return lines.join("\n");
}
