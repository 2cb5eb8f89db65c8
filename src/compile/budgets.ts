import { fail } from "../diagnostics/index.ts";
import type { BudgetResult, Fidelity, TargetReport } from "../report/types.ts";
import type { Budgets } from "./recipe/types.ts";

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** A size limit in bytes: a number, `12 MB`, or a share of `original`. The schema has checked the spelling. */
export function byteLimit(limit: number | string, original: number): number {
  if (typeof limit === "number") return limit;
  const [, value, unit] = /^([0-9.]+) ?(.*)$/.exec(limit)!;
  return unit === "%" ? (Number(value) / 100) * original : Number(value) * UNITS[unit!]!;
}

interface Figure {
  readonly name: string;
  readonly limit: number;
  readonly value: (f: Fidelity) => number;
  readonly interval?: (f: Fidelity) => { readonly low: number; readonly high: number };
}

function figures(b: Budgets): Figure[] {
  const out: Figure[] = [];
  if (b.sqnr?.mean !== undefined)
    out.push({
      name: "sqnr.mean",
      limit: b.sqnr.mean,
      value: (f) => f.sqnrMean,
      interval: (f) => ({ low: f.sqnrInterval[0], high: f.sqnrInterval[1] }),
    });
  if (b.sqnr?.worst !== undefined)
    out.push({ name: "sqnr.worst", limit: b.sqnr.worst, value: (f) => f.sqnrWorst });
  for (const name of ["psnr", "ssim"] as const) {
    const limit = b[name];
    if (limit !== undefined)
      out.push({
        name,
        limit,
        value: (f) => f[name].median,
        interval: (f) => ({ low: f[name].low, high: f[name].high }),
      });
  }
  return out;
}

/** Fails early with BUDGET_UNMEASURED when a limit needs a verification that will not run. */
export function checkMeasurable(budgets: Budgets, why: string | null): void {
  const needing = figures(budgets)[0];
  if (needing !== undefined && why !== null) fail("BUDGET_UNMEASURED", { budget: needing.name, why });
}

/** Every limit against every target, in the order of the targets. Errors: BUDGET_UNMEASURED. */
export function checkBudgets(
  budgets: Budgets,
  targets: ReadonlyMap<string, Pick<TargetReport, "bytes" | "fidelity">>,
): BudgetResult[] {
  const out: BudgetResult[] = [];
  for (const [target, report] of targets) {
    if (budgets.bytes !== undefined) {
      const limit = byteLimit(budgets.bytes, report.bytes.before);
      const value = report.bytes.after;
      out.push({ name: "bytes", target, limit, value, interval: null, met: value <= limit });
    }
    for (const f of figures(budgets)) {
      if (report.fidelity === null)
        fail("BUDGET_UNMEASURED", { budget: f.name, why: `target "${target}" was not verified` });
      const value = f.value(report.fidelity);
      const interval = f.interval?.(report.fidelity) ?? null;
      out.push({ name: f.name, target, limit: f.limit, value, interval, met: value >= f.limit });
    }
  }
  return out;
}
