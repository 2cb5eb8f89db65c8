const UNITS = [
  ["s", 1],
  ["ms", 1e3],
  ["µs", 1e6],
] as const;

/** An estimated time in the unit that leaves something in front of the point, with so many significant digits. */
export function timeText(seconds: number, digits: number): string {
  const [unit, per] = UNITS.find(([, p]) => seconds * p >= 1) ?? (["ns", 1e9] as const);
  return `${(seconds * per).toPrecision(digits)} ${unit}`;
}
