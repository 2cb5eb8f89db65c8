import { styleText } from "node:util";
import type { ComponentReport, TargetReport } from "../../src/index.ts";

/** Colours only where a person looks: a terminal, and NO_COLOR not set (https://no-color.org). */
export function paint(
  style: Parameters<typeof styleText>[0],
  text: string,
  stream: NodeJS.WriteStream = process.stderr,
): string {
  const off = !stream.isTTY || (process.env["NO_COLOR"] ?? "") !== "";
  return off ? text : styleText(style, text, { validateStream: false });
}

/** Bytes with three significant digits in powers of 1000. */
export function bytes(n: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = n;
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return at === 0 ? `${value} B` : `${value.toPrecision(3)} ${units[at]}`;
}

/** A count with thousands separators, the same in every locale. */
export function count(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Floating-point operations in engineering units. */
export function flops(n: number): string {
  const units = ["", "K", "M", "G", "T", "P"];
  let value = n;
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return `${at === 0 ? value : value.toPrecision(3)} ${units[at]}FLOP`;
}

/** `after` as a share of `before`. */
export function percent(after: number, before: number): string {
  return before === 0 ? "–" : `${((100 * after) / before).toFixed(1)} %`;
}

/** Short times with three significant digits. */
export function time(s: number): string {
  const [unit, per] = s >= 1 ? ["s", 1] : s >= 1e-3 ? ["ms", 1e3] : s >= 1e-6 ? ["µs", 1e6] : ["ns", 1e9];
  return `${(s * per).toPrecision(3)} ${unit}`;
}

/** Seconds as people read them. */
export function seconds(s: number): string {
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

/** A fidelity figure in dB. */
export function decibel(x: number): string {
  return Number.isFinite(x) ? `${x.toFixed(1)} dB` : "∞ dB";
}

/** The component of a build with the largest original: the denoiser. */
export function largest({ components }: TargetReport): ComponentReport {
  return components.reduce((a, b) => (b.bytes.before > a.bytes.before ? b : a));
}
