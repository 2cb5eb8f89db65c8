import type { ComponentInspection, Inspection, PortInfo } from "../../src/index.ts";
import { bytes, count, flops, paint, percent } from "./format.ts";
import { table } from "./table.ts";

const out = process.stdout;
const TOP_OPS = 12;
const NUMBERS = ["left", "right", "right", "right", "right"] as const;

function title(text: string): string {
  return paint("bold", text, out);
}

function port(p: PortInfo): string[] {
  return [p.name, `${p.dtype ?? "?"}[${p.shape === null ? "?" : p.shape.join(", ")}]`, p.role ?? ""];
}

function component(c: ComponentInspection): string[] {
  const opsets = Object.entries(c.opsets)
    .map(([domain, v]) => `${domain === "" ? "onnx" : domain} ${v}`)
    .join(", ");
  const at = Object.entries(c.shape)
    .map(([d, n]) => `${d}=${n}`)
    .join(" ");
  const ops = c.ops.slice(0, TOP_OPS).map((o) => `${o.op} ${count(o.count)}`);
  if (c.ops.length > TOP_OPS) ops.push(`and ${c.ops.length - TOP_OPS} more`);
  return [
    `${title(c.name)}  ${c.file}${c.denoiser ? "  (denoiser)" : ""}`,
    `  ${count(c.total.parameters)} parameters, ${bytes(c.total.bytes)}, ${count(c.nodes)} nodes; ${opsets}, IR ${c.irVersion}, ${c.producer}`,
    c.flops === null
      ? `  FLOPs unknown: give --shape ${c.missing.map((d) => `${d}=…`).join(",")}`
      : `  ${flops(c.flops)} a step${at === "" ? "" : ` at ${at}`}`,
    `  dims: ${c.dims.join(", ") || "all fixed"}`,
    "",
    indent(table(["input / output", "type", "role"], [...c.inputs.map(port), ...c.outputs.map(port)])),
    "",
    indent(
      table(
        ["dtype", "tensors", "parameters", "size", ""],
        c.byDtype.map((d) => [
          d.dtype,
          count(d.tensors),
          count(d.parameters),
          bytes(d.bytes),
          percent(d.bytes, c.total.bytes),
        ]),
        NUMBERS,
      ),
    ),
    "",
    indent(
      table(
        ["part", "nodes", "parameters", "size", ""],
        c.byPart.map((p) => [
          p.part,
          count(p.nodes),
          count(p.parameters),
          bytes(p.bytes),
          percent(p.bytes, c.total.bytes),
        ]),
        NUMBERS,
      ),
    ),
    "",
    `  ${ops.join(", ")}`,
    "",
    indent(
      table(
        ["largest tensors", "type", "size"],
        c.largest.map((t) => [t.name, `${t.dtype}[${t.dims.join(", ")}]`, bytes(t.bytes)]),
        ["left", "left", "right"],
      ),
    ),
    "",
  ];
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((l) => `  ${l}`)
    .join("\n");
}

/** An inspection for people. */
export function renderInspection(i: Inspection): string {
  const lines: string[] = [];
  if (i.pipeline !== null) {
    const p = i.pipeline;
    const schedule = [p.scheduler, p.prediction].filter((x) => x !== null).join(", ");
    lines.push(`${title(p.className ?? "pipeline")}${schedule === "" ? "" : `  ${schedule}`}`, "");
  }
  for (const c of i.components) lines.push(...component(c));
  lines.push(
    table(
      ["preset", "estimated size", "of original", ""],
      i.presets.map((p) => [p.preset, bytes(p.bytes), `${(100 * p.share).toFixed(1)} %`, p.summary]),
      ["left", "right", "right", "left"],
    ),
  );
  return lines.join("\n");
}
