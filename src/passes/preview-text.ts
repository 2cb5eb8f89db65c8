import type { Decision, PreviewLine } from "./pass.ts";

/** ` (assumed: batch 2, height 64)`, or nothing when every length is known. */
export function assumedText(assumed: readonly string[], lengths: Readonly<Record<string, number>>): string {
  if (assumed.length === 0) return "";
  return ` (lengths assumed: ${assumed.map((s) => `${s} ${lengths[s]}`).join(", ")})`;
}

/** `1 group`, `3 groups`. */
export function counted(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

/** Reasons a preview spells out; the report of a build lists all. */
const REASONS = 8;

/** Gathers decisions instead of recording them, for previews. */
export interface LeftLines {
  decide(d: Decision): void;
  /** One line per reason why something stays as it is, those that cover most first. */
  lines(what: string): PreviewLine[];
}

/** An empty account of {@link LeftLines}. */
export function leftLines(): LeftLines {
  const byReason = new Map<string, number>();
  return {
    decide(d) {
      if (d.kind === "skipped" && d.why !== undefined)
        byReason.set(d.why, (byReason.get(d.why) ?? 0) + (d.count ?? 1));
    },
    lines(what) {
      const sorted = [...byReason].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      return sorted.slice(0, REASONS).map(([why, n]) => ({
        subject: "",
        what: `${counted(n, what)} left alone: ${why}`,
      }));
    },
  };
}

/** Operations in millions. */
export const mega = (n: number): string => `${(n / 1e6).toFixed(1)} MFLOP`;
