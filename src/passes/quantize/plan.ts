import { nearestName } from "../../calibrate/nearest.ts";
import { fail } from "../../diagnostics/index.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph, NodeId, ValueId } from "../../ir/graph.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import type { PatternName } from "../../numeric/sparsify/pattern.ts";
import type { FormatSupport, Target, WeightFormat } from "../../targets/target.ts";
import { optionPattern } from "../option-pattern.ts";
import type { PassContext } from "../pass.ts";
import { type Guard, guardedLayers } from "./guards.ts";
import { type Layer, weightLayers } from "./layers.ts";

/** Options of `quantize-weights`. */
export interface QuantizeWeightsOptions {
  format: "w8" | "w4" | "w2" | "f4";
  method: "rtn" | "hqq" | "gptq" | "rounding" | "palette";
  actOrder: boolean;
  sequential: number;
  steer: boolean;
  lowRank: number;
  /** Output and input channels that share a codebook; 0 for all. */
  codebookOutputs: number;
  codebookInputs: number;
  /** Zeros fitted together with the integers of layers that are not guarded. */
  sparse: { readonly pattern: PatternName; readonly ratio?: number } | null;
  block: 16 | 32 | 64 | 128;
  symmetric: boolean;
  search: "none" | "mse" | "l2.4";
  match: string | null;
  exclude: string | null;
  minElements: number;
  edges: "f32" | "f16" | "w8" | "none";
  sensitive: "w8" | "w4" | "none";
  score: boolean;
  /** Format by node name, over `format`, the guards and the selection. */
  assign: Readonly<Record<string, Choice>>;
}

/** Without a target: the standard spellings. */
const PORTABLE: Readonly<Record<"w8" | "w4" | "w2", FormatSupport>> = {
  w8: { gemm: "dequantize-channel", conv: "dequantize-channel" },
  w4: { gemm: "matmul-nbits", conv: "dequantize-channel", accuracyLevel: 0 },
  w2: { gemm: "matmul-nbits", conv: "float", accuracyLevel: 0 },
};

/** Where 4-bit floats are not spoken of. */
const NO_FLOAT4: FormatSupport = {
  gemm: null,
  conv: null,
  fallback: "w4",
  why: "the target has no 4-bit floats",
};

/** What a weight can become. */
export type Choice = "f32" | "f16" | QuantizeWeightsOptions["format"];

/** What planning may use. */
export type PlanContext = Pick<PassContext, "model" | "target" | "shapes" | "decide">;

/** What a layer becomes: its format, and why it differs from the one asked for. */
export interface Plan {
  readonly layer: Layer;
  readonly format: Choice;
  readonly guard: Guard | null;
}

/** How the target takes a format. */
export function supportOf(target: Target | null, format: WeightFormat): FormatSupport {
  if (format === "f4") return target?.formats.f4 ?? NO_FLOAT4;
  if (target !== null) return target.formats[format];
  return format === "w8" || format === "w4" || format === "w2"
    ? PORTABLE[format]
    : { gemm: "float", conv: "float" };
}

/** Formats from the coarsest to the finest. */
export const STRICTNESS: readonly Choice[] = ["w2", "f4", "w4", "w8", "f16", "f32"];

/** The one of two formats that keeps more. */
function stricter(a: Choice, b: Choice): Choice {
  return STRICTNESS[Math.max(STRICTNESS.indexOf(a), STRICTNESS.indexOf(b))]!;
}

function choose(guard: Guard | null, o: QuantizeWeightsOptions): Choice {
  if (guard === "edge") return o.edges === "none" ? o.format : o.edges;
  if (guard === null || o.sensitive === "none") return o.format;
  return stricter(o.sensitive, o.format);
}

/** The least format a guard leaves a layer by default. */
const GUARDED: Readonly<Record<Guard, Choice>> = { edge: "f16", time: "w8", sampler: "w8", shortcut: "w8" };

/** Whether options gave a guarded layer less than its guard does by default. */
export function isLifted(guard: Guard, format: Choice): boolean {
  return STRICTNESS.indexOf(format) < STRICTNESS.indexOf(GUARDED[guard]);
}

/** Formats asked for by name, as far as the target has them. Fails with LAYER_UNKNOWN for names that no layer has. */
function assigned(
  layers: readonly Layer[],
  o: QuantizeWeightsOptions,
  ctx: PlanContext,
): ReadonlyMap<string, Choice> {
  const known = layers.map((l) => l.node.name);
  const out = new Map<string, Choice>();
  for (const [name, format] of Object.entries(o.assign)) {
    if (!known.includes(name))
      fail("LAYER_UNKNOWN", {
        pass: "quantize-weights",
        name,
        nearest: nearestName(name, known),
        count: known.length,
      });
    const { gemm, conv, why } = supportOf(ctx.target, format);
    if (gemm !== null || conv !== null) out.set(name, format);
    else {
      const reason = why ?? "the target does not support it";
      ctx.decide({
        node: name,
        kind: "downgraded",
        rule: "assigned-format",
        why: reason,
        from: format,
        to: "f32",
      });
      out.set(name, "f32");
    }
  }
  return out;
}

/** The formats that plans may ask for: that of all layers, and those given by name. */
export function formatsOf(o: QuantizeWeightsOptions): ReadonlySet<Choice> {
  return new Set([o.format, ...Object.values(o.assign)]);
}

/** The options with one format in place of another, wherever it is asked for. */
export function replaceFormat(
  o: QuantizeWeightsOptions,
  from: Choice,
  to: QuantizeWeightsOptions["format"],
): QuantizeWeightsOptions {
  return {
    ...o,
    format: o.format === from ? to : o.format,
    assign: Object.fromEntries(Object.entries(o.assign).map(([k, f]) => [k, f === from ? to : f])),
  };
}

/** Which layers get which format; everything that does not is decided on here, with counts by reason. */
export function plan(graph: Graph, o: QuantizeWeightsOptions, ctx: PlanContext): Plan[] {
  const match = optionPattern("quantize-weights", "match", o.match);
  const exclude = optionPattern("quantize-weights", "exclude", o.exclude);
  const layers = weightLayers(graph, ctx.shapes());
  const guards = guardedLayers(ctx);
  const asked = assigned(layers, o, ctx);
  const out: Plan[] = [];
  const small: Layer[] = [];
  const other: Layer[] = [];
  for (const layer of layers) {
    const { name } = layer.node;
    const format = asked.get(name);
    if (format !== undefined) out.push({ layer, format, guard: null });
    else if (match?.test(name) === false || exclude?.test(name) === true) other.push(layer);
    else if (elementCount(layer.tensor.dims) < o.minElements) small.push(layer);
    else {
      const guard = guards.get(layer.node.id) ?? null;
      out.push({ layer, format: choose(guard, o), guard });
    }
  }
  const skipped = (rule: string, why: string, of: readonly Layer[]): void => {
    if (of.length > 0)
      ctx.decide({
        node: of.length === 1 ? of[0]!.node.name : "",
        kind: "skipped",
        rule,
        why,
        count: of.length,
        bytesBefore: of.reduce((n, l) => n + tensorBytes(l.tensor), 0),
      });
  };
  skipped("selection", "its name is not selected by match and exclude", other);
  skipped("min-elements", `it has fewer than ${o.minElements} elements`, small);
  return out;
}

/** Layers that read the same weight in the same way, with the strictest format any of them wants. */
export interface Shared {
  readonly value: ValueId;
  readonly uses: readonly Plan[];
  readonly format: Choice;
}

/** Groups layers by weight; weights that cannot change for all their readers are decided on and left out. */
export function shared(graph: Graph, plans: readonly Plan[], ctx: Pick<PlanContext, "decide">): Shared[] {
  const byValue = new Map<ValueId, Plan[]>();
  for (const p of plans) {
    const list = byValue.get(p.layer.value);
    if (list === undefined) byValue.set(p.layer.value, [p]);
    else list.push(p);
  }
  const out: Shared[] = [];
  for (const [value, uses] of byValue) {
    const readers = new Set<NodeId>(uses.map((u) => u.layer.node.id));
    const { role } = uses[0]!.layer;
    const foreign = graph.users(value).filter((u) => !readers.has(u));
    const mixed = uses.some((u) => u.layer.role.outAxis !== role.outAxis);
    if (foreign.length > 0 || mixed || graph.isOutput(value)) {
      ctx.decide({
        node: uses[0]!.layer.node.name,
        kind: "skipped",
        rule: "shared-weight",
        why: mixed
          ? "other layers read the weight with other output channels"
          : "the weight is also read as a float by other nodes",
      });
      continue;
    }
    const format = uses.map((u) => u.format).reduce(stricter);
    out.push({ value, uses, format });
  }
  return out;
}
