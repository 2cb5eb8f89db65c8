export type Cell = string | number;

/** Three significant digits, no exponent for everyday sizes. */
export function number(value: number): string {
  if (Number.isInteger(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** A Markdown table. */
export function table(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const text = (c: Cell): string => (typeof c === "number" ? number(c) : c);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map((r) => line(r.map(text)))].join("\n");
}
