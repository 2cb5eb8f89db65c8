import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1000 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1000 ** 3,
  gib: 1024 ** 3,
};

/** `1.5GB`, `800MiB` or plain bytes, in bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = UNITS[match?.[2]?.toLowerCase() ?? "?"];
  if (match === null || unit === undefined)
    throw new InvalidArgumentError("expected a size such as 1.5GB, 800MiB or 1000000.");
  const bytes = Math.floor(Number(match[1]) * unit);
  if (bytes < 1) throw new InvalidArgumentError("expected a size above zero.");
  return bytes;
}

/** A comma-separated list; repeats of the option add up. */
export function parseList(text: string, before: readonly string[] = []): string[] {
  const items = text.split(",").map((s) => s.trim());
  if (items.some((s) => s === "")) throw new InvalidArgumentError("found an empty name in the list.");
  return [...before, ...items];
}

/** `DIM=value,…`; repeats of the option add up. */
export function parseShape(
  text: string,
  before: Readonly<Record<string, number>> = {},
): Record<string, number> {
  const out: Record<string, number> = { ...before };
  for (const item of parseList(text)) {
    const at = item.lastIndexOf("=");
    const dim = item.slice(0, at);
    const value = Number(item.slice(at + 1));
    if (at < 1 || !Number.isSafeInteger(value) || value < 1)
      throw new InvalidArgumentError(
        `found "${item}", expected DIM=N with N of at least 1, as in batch_size=2.`,
      );
    out[dim] = value;
  }
  return out;
}

/** A whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`expected a whole number of at least ${least}.`);
    return value;
  };
}

/** A number of at least 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError("expected a number of at least 0.");
  return value;
}
