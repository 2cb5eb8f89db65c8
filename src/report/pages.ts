import type { CodeSpec } from "../diagnostics/define.ts";
import { CODES } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import type { JsonSchema, Pass } from "../passes/pass.ts";
import { takes } from "../targets/check/forms.ts";
import { RULES } from "../targets/check/rules/index.ts";
import type { Rule } from "../targets/check/types.ts";
import { ratesText } from "../targets/cost/basis.ts";
import { targets } from "../targets/index.ts";
import type { Machine } from "../targets/machine.ts";
import type { FormatSupport, Target } from "../targets/target.ts";

/** Text for one table cell. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell).join(" | ")} |`;
}

function mdTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(row)].join("\n");
}

function typeOf(schema: JsonSchema): string {
  const options = schema["enum"];
  if (Array.isArray(options)) return options.map((v) => `\`${JSON.stringify(v)}\``).join(", ");
  const variants = schema["anyOf"] ?? schema["oneOf"];
  if (Array.isArray(variants)) return variants.map((v) => typeOf(v as JsonSchema)).join(" or ");
  const type = schema["type"];
  const base = Array.isArray(type) ? type.join(" or ") : typeof type === "string" ? type : "any";
  const low = schema["minimum"];
  const high = schema["maximum"];
  if (low === undefined && high === undefined) return base;
  return `${base} ${low === undefined ? "" : `≥ ${String(low)}`}${low !== undefined && high !== undefined ? ", " : ""}${high === undefined ? "" : `≤ ${String(high)}`}`;
}

const code = (value: Json | undefined): string => (value === undefined ? "" : `\`${JSON.stringify(value)}\``);

/** The docs page of a pass, generated from its declaration (Markdown). */
export function passPage(pass: Pass): string {
  const properties = (pass.options["properties"] ?? {}) as Readonly<Record<string, JsonSchema>>;
  const options = Object.entries(properties).map(([name, schema]) => [
    `\`${name}\``,
    typeOf(schema),
    code(schema["default"]),
    typeof schema["description"] === "string" ? schema["description"] : "",
  ]);
  const effect =
    pass.effect === "exact"
      ? "exact: outputs are equal up to float rounding."
      : "lossy: judged by sampling the build against the original.";
  return [
    `# ${pass.name}`,
    "",
    pass.summary.endsWith(".") ? pass.summary : `${pass.summary}.`,
    "",
    pass.doc.trim(),
    "",
    `Family \`${pass.family}\`, version ${pass.version}. Effect: ${effect}`,
    "",
    "## Options",
    "",
    options.length === 0 ? "None." : mdTable(["option", "type", "default", ""], options),
  ].join("\n");
}

function formatCell(format: FormatSupport): string[] {
  const fallback = format.fallback === undefined ? "" : `falls back to ${format.fallback}`;
  const use = format.use === undefined ? "" : `for ${format.use}`;
  const reasons = [use, fallback, format.why ?? "", format.note ?? ""].filter((s) => s !== "");
  return [format.gemm ?? "–", format.conv ?? "–", reasons.join("; ")];
}

function integerCell({ integer, integerWhy }: Target): string {
  if (integer === null) return `none: ${integerWhy ?? ""}`;
  const {
    spelling,
    activations,
    scales,
    weightScales,
    dynamic,
    placement,
    powerOfTwo,
    float8,
    expandedBlock,
  } = integer;
  const per = { all: "output", conv: "output of convolutions, per tensor in linear layers", none: "tensor" };
  return [
    `${activations} activations, written as ${spelling}${placement === "inputs" ? " on inputs alone, biases in float" : ""}`,
    `${scales} scales${powerOfTwo === true ? ", powers of two" : ""}`,
    `a weight scale per ${per[weightScales]}`,
    dynamic ? "dynamic linear layers too" : "no dynamic form",
    ...(expandedBlock === undefined
      ? []
      : [`4-bit weights of linear layers in blocks of ${expandedBlock} with integer scales on request`]),
    ...(float8 === undefined ? [] : [`fp8 (E4M3FN) instead for ${float8.join(" and ")} on request`]),
  ].join("; ");
}

function packedCell({ packedAttention }: Target): string {
  return packedAttention === undefined
    ? "not written"
    : `queries, keys and values in one tensor in ${packedAttention.types.join(" and ")}`;
}

function startCell({ overhead: { node, attention, row } }: Machine): string {
  if (node === 0) return "none known";
  const us = (s: number): string => `${Number((1e6 * s).toPrecision(3))} µs`;
  return [
    us(node),
    ...(attention === undefined ? [] : [`fused attention ${us(attention)}`]),
    ...(row === undefined ? [] : [`each normalised row ${us(row)}`]),
  ].join("; ");
}

/** What estimates for a target are made with; variants that stand for another machine have a row of their own. */
function machineLines(target: Target): string[] {
  const { machine, variants } = target;
  if (machine === undefined) return [];
  const rate = (perSecond: number, unit: string): string =>
    perSecond >= 1e12 ? `${perSecond / 1e12} T${unit}/s` : `${perSecond / 1e9} G${unit}/s`;
  const line = (id: string, m: Machine): string[] => [
    id,
    m.name,
    ratesText(m, []),
    Object.entries(m.flops)
      .map(([dtype, r]) => `${dtype} ${rate(r, "FLOP")}`)
      .join("; "),
    Object.entries(m.other ?? {})
      .map(([kind, r]) => `${kind} ${rate(r, "FLOP")}`)
      .join("; ") || "as products",
    `${rate(m.bandwidth, "B")}${m.weightBandwidth === undefined ? "" : `; constants ${rate(m.weightBandwidth, "B")}`}`,
    startCell(m),
  ];
  const own = Object.entries(variants?.of ?? {});
  const chosen = own.some(([, v]) => v.overrides.machine === machine);
  const others = (chosen ? [] : own).flatMap(([name, { overrides }]) =>
    overrides.machine === undefined ? [] : [line(`\`${target.id}:${name}\``, overrides.machine)],
  );
  return [
    "## Estimates",
    "",
    "Times are estimated on one machine of the target; ratios carry over to others better than seconds do.",
    "",
    mdTable(
      ["", "machine", "basis", "products", "other arithmetic", "memory", "starting a node"],
      [line(`\`${target.id}\``, machine), ...others],
    ),
    "",
  ];
}

/** Data of a limit in one line: `key: value` pairs, lists joined. */
function dataCell(data: unknown): string {
  if (Array.isArray(data))
    return data.map((d) => (Array.isArray(d) ? d.join(" × ") : dataCell(d))).join(", ");
  if (typeof data !== "object" || data === null) return String(data);
  return Object.entries(data)
    .map(([key, value]) => `${key}: ${dataCell(value)}`)
    .join("; ");
}

function variantLines({ id, variants }: Target): string[] {
  if (variants === undefined) return [];
  const rows = Object.entries(variants.of).map(([name, v]) => [
    `\`${id}:${name}\`${name === variants.default ? " (default)" : ""}`,
    v.title,
    dataCell({ ...v.overrides, ...(v.overrides.machine && { machine: v.overrides.machine.name }) }),
  ]);
  return ["## Variants", "", mdTable(["name", "", "what differs"], rows), ""];
}

/** Functions that the embedding of a timestep is made of, which no exact arithmetic replaces. */
const WAVES = ["Sin", "Cos"];

function timeRows({ limits }: Target): [string, string][] {
  const { operators } = limits;
  const lacking = WAVES.filter((op) => operators !== undefined && !takes(operators, { domain: "", op }));
  if (lacking.length === 0) return [];
  const waves = lacking.join(" and ");
  return [
    [
      "embedding of the timestep",
      `${waves} leave the accelerator, as the report lists them; [freeze-time](../passes/freeze-time.md) puts tables in their place, for which the target has everything`,
    ],
  ];
}

/** The docs page of a target, generated from its data (Markdown). */
export function targetPage(target: Target): string {
  const formats = Object.entries(target.formats).map(([name, f]) => [name, ...formatCell(f)]);
  const spelling = Object.entries(target.spelling).map(([what, how]) => [what, how]);
  const islands = target.half.keepF32Inputs.map((k) => `${k.op}[${k.inputs.join(", ")}]`);
  const sources = target.sources.map((s) => [
    `\`${s.field}\``,
    s.claim,
    s.source,
    `${s.checked}${s.measured ? ", measured" : ""}`,
  ]);
  return [
    `# ${target.id}`,
    "",
    `${target.title}. Kind: ${target.kind}.`,
    "",
    `Load builds with execution provider \`${target.provider.name}\`${Object.keys(target.provider.options).length === 0 ? "" : ` and options \`${JSON.stringify(target.provider.options)}\``}.`,
    "",
    mdTable(
      ["property", "value"],
      [
        ["opset", `${target.opset.min} to ${target.opset.max}, builds use ${target.opset.emit}`],
        [
          "shapes",
          `${target.shapes.static ? "static only" : "symbolic or static"}, rank up to ${target.shapes.maxRank}`,
        ],
        ["computes in", target.compute.join(", ")],
        ["alignment", `${target.align.channels} channels, ${target.align.bytes} bytes`],
        ["packed attention", packedCell(target)],
        ["integer arithmetic", integerCell(target)],
        ["weights in codebooks", target.palettes],
        ["zeros in weights", target.sparsity.note],
        ["inputs kept fp32 in half-precision builds", islands.join(", ") || "none"],
        ["operators kept fp32 in half-precision builds", target.half.f32Ops.join(", ") || "none"],
        ...timeRows(target),
      ],
    ),
    "",
    "## Weight formats",
    "",
    mdTable(["format", "linear layers", "convolutions", ""], formats),
    "",
    "## Spelling",
    "",
    mdTable(["operation", "emitted as"], spelling),
    "",
    ...machineLines(target),
    ...variantLines(target),
    "## What the checker compares with",
    "",
    mdTable(
      ["limit", "value"],
      Object.entries(target.limits).map(([name, data]) => [`\`${name}\``, dataCell(data)]),
    ),
    "",
    "## Sources",
    "",
    mdTable(["field", "claim", "source", "checked"], sources),
  ].join("\n");
}

/** The docs page of the checker's rules (Markdown). */
export function rulesPage(): string {
  const names = (rule: Rule): string => {
    const applied = targets.filter((t) => rule.applies(t)).map((t) => t.id);
    return applied.length === targets.length ? "all" : applied.join(", ");
  };
  const rows = RULES.map((r) => [
    r.id,
    r.severity,
    r.claim,
    `\`${r.capability}\``,
    names(r) || "variants only",
    `${r.source}; ${r.runtime}${r.confirmed ? "; shown in the tests" : ""}`,
  ]);
  return [
    "# Rules of check-target",
    "",
    "A `reject` fails to load, to run or to compile; `slow` runs, but not where or as fast as meant; `numeric` gives other numbers than the graph says. A rule applies to every target whose descriptor has the capability.",
    "",
    mdTable(["rule", "severity", "what must hold", "capability", "targets", "source"], rows),
  ].join("\n");
}

/** Stand-in for the facts of a message: any property, call or index gives a stand-in with the property's name. */
function standIn(name: string): unknown {
  const text = `<${name}>`;
  const call = (): unknown => text;
  return new Proxy(call, {
    get(_target, key) {
      if (key === Symbol.toPrimitive || key === "toString") return () => text;
      if (key === "length") return 2;
      if (key === "map" || key === "slice" || key === "filter") return () => [text];
      if (key === "join") return () => text;
      if (key === Symbol.iterator) return () => [text][Symbol.iterator]();
      if (typeof key === "string" && (key.startsWith("to") || key === "join")) return () => text;
      return standIn(String(key));
    },
  });
}

/** The docs page of every diagnostic code (Markdown). */
export function codesPage(): string {
  const details = new Proxy({}, { get: (_t, key) => standIn(String(key)) });
  const rows = Object.entries(CODES)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, spec]) => {
      const { severity, message } = spec as CodeSpec<unknown>;
      return [`\`${name}\``, severity, message(details).replaceAll("<", "‹").replaceAll(">", "›")];
    });
  return [
    "# Diagnostic codes",
    "",
    "Scripts read `code` and `details` (`--json`); the wording may change between releases. Angle quotes stand for what was found.",
    "",
    mdTable(["code", "severity", "message"], rows),
  ].join("\n");
}
