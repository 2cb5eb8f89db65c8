import Table from "cli-table3";
import { paint } from "./format.ts";

/** A plain table: a header row, left-aligned unless said, no boxes around cells. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  align: readonly ("left" | "right")[] = [],
  stream: NodeJS.WriteStream = process.stdout,
): string {
  const t = new Table({
    head: head.map((h) => paint("bold", h, stream)),
    colAligns: head.map((_, i) => align[i] ?? "left"),
    style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 2 },
    chars: {
      top: "",
      "top-mid": "",
      "top-left": "",
      "top-right": "",
      bottom: "",
      "bottom-mid": "",
      "bottom-left": "",
      "bottom-right": "",
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "",
    },
  });
  for (const r of rows) t.push([...r]);
  return t
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
