import type { Graph } from "../../ir/graph.ts";
import type { FormatSupport, HalfRules, Target } from "../../targets/target.ts";
import { type FidelityFloor, floorOption } from "../fidelity-floor.ts";
import { optionPattern } from "../option-pattern.ts";
import { definePass, type PassContext } from "../pass.ts";
import { applyHalf, joinCasts, removeIdleCasts } from "./apply-half.ts";
import { FloatFlow } from "./flow.ts";
import { forcedIslands, type HalfType, type IslandReason } from "./islands.ts";
import { preciseOperators } from "./precision.ts";
import { storeHalf } from "./storage.ts";
import { connectedIslands, widenIslands } from "./widen.ts";

/** Options of `convert-float`. */
export interface ConvertFloatOptions {
  to: HalfType;
  use: "compute" | "storage" | null;
  minElements: number;
  force: boolean;
  exclude: string | null;
  floor: FidelityFloor | null;
}

/** Without a target: what the operators' definitions demand. */
const PORTABLE_RULES: HalfRules = {
  keepF32Inputs: [
    { op: "Resize", inputs: [1, 2] },
    { op: "Upsample", inputs: [1] },
  ],
  f32Ops: ["Range", "CumSum", "NonMaxSuppression", "RoiAlign"],
  f32Ancestors: ["Sin", "Cos"],
  margin: 4,
};

/** Fewer elements than this are not worth a Cast node. */
const MIN_ELEMENTS = 1024;

const WHY: Readonly<Record<IslandReason, string>> = {
  asked: "the recipe keeps it in fp32",
  precision: "rounding it costs more than the fidelity floor allows",
  range: "a value leaves the range of the type over the trajectory",
  constant: "a constant does not fit the type",
  statistics: "sums and squares of a norm spelled in primitives need fp32",
  angle: "arguments of trigonometric functions need fp32",
  operator: "the target has no kernel for it in this type",
  quantized: "it belongs to a layer on integers, whose scales the type would round",
  unknown: "how it treats types is not known",
  source: "it makes floats from integers",
  captured: "a subgraph reads its result",
  between: "it lies between islands: converting it would only add casts",
};

/** What stays fp32 besides what has to. */
interface Kept {
  readonly exclude: RegExp | null;
  readonly precise: ReadonlySet<string>;
}

function compute(graph: Graph, ctx: PassContext, type: HalfType, kept: Kept): void {
  const rules = ctx.target?.half ?? PORTABLE_RULES;
  if (ctx.ranges === null)
    ctx.decide({
      node: "",
      kind: "skipped",
      rule: "range-islands",
      why: "no ranges were collected over a trajectory; islands come from operator rules alone",
    });
  removeIdleCasts(graph, ctx.shapes());
  const flow = new FloatFlow(graph, ctx.shapes());
  rangeCoverage(flow, ctx);
  const islands = forcedIslands(flow, { rules, type, ranges: ctx.ranges, ...kept });
  widenIslands(flow, islands);
  for (const part of connectedIslands(flow, islands)) {
    const reasons = [...new Set(part.map((n) => islands.get(n.id)!))];
    const main = reasons.find((r) => r !== "between" && r !== "source") ?? reasons[0]!;
    ctx.decide({
      node: part[0]!.name,
      kind: "forced",
      rule: `f32-island-${main}`,
      why: reasons.map((r) => WHY[r]).join("; "),
      from: type,
      to: "f32",
      count: part.length,
    });
  }
  const made = applyHalf(flow, (n) => islands.has(n) || flow.constantNodes.has(n), rules, type);
  const joined = joinCasts(graph, type);
  const note = ctx.target?.formats[type]?.note;
  ctx.decide({
    node: "",
    kind: "applied",
    rule: `${type}-compute`,
    ...(note !== undefined && { why: note }),
    from: "f32",
    to: type,
    count: made.nodes,
  });
  if (made.casts - joined > 0)
    ctx.decide({ node: "", kind: "applied", rule: "island-casts", count: made.casts - joined });
}

/** Says for how many values there is no range: values that passes made after the ranges were collected. */
function rangeCoverage(flow: FloatFlow, ctx: PassContext): void {
  if (ctx.ranges === null) return;
  let known = 0;
  let missing = 0;
  for (const node of flow.graph.nodes())
    for (const id of flow.matters(node) ? flow.floatOutputs(node) : [])
      if (ctx.ranges.get(flow.graph.value(id).name) === undefined) missing++;
      else known++;
  if (missing > 0)
    ctx.decide({
      node: "",
      kind: "skipped",
      rule: "range-islands",
      why: `no range was collected for ${missing} of ${known + missing} values; operator rules alone decide there`,
      count: missing,
    });
}

/** True when the part is known to overflow in fp16 and nobody insists. */
function refused(ctx: PassContext, force: boolean): boolean {
  const { halfUnsafe: why } = ctx;
  if (why === undefined) return false;
  if (force) ctx.decide({ node: "", kind: "forced", rule: "known-overflow", why, from: "f32", to: "f16" });
  else ctx.decide({ node: "", kind: "downgraded", rule: "known-overflow", why, from: "f16", to: "f32" });
  return !force;
}

/** Converts a graph to a half type the way the target takes it; used by passes that fall back to it. */
export function convertFloatTo(
  to: HalfType,
  graph: Graph,
  ctx: PassContext,
  options: Partial<Omit<ConvertFloatOptions, "to" | "floor">> = {},
  precise: ReadonlySet<string> = new Set(),
): void {
  const support: FormatSupport | undefined = ctx.target?.formats[to];
  if (support !== undefined && support.gemm === null) {
    const other = support.fallback ?? "f32";
    const why = support.why ?? "the target does not support it";
    ctx.decide({ node: "", kind: "downgraded", rule: "float-format", why, from: to, to: other });
    if (other === "f16" || other === "bf16") convertFloatTo(other, graph, ctx, options, precise);
    return;
  }
  const use = options.use ?? support?.use ?? "storage";
  if (to === "f16" && use === "compute" && refused(ctx, options.force ?? false)) return;
  const exclude = optionPattern("convert-float", "exclude", options.exclude ?? null);
  if (use === "compute") compute(graph, ctx, to, { exclude, precise });
  else storeHalf(graph, ctx, { type: to, minElements: options.minElements ?? MIN_ELEMENTS, exclude });
}

/** The half type a conversion computes in on the target; `null` where it only stores weights or does nothing. */
function computedIn(to: HalfType, target: Target | null, use: "compute" | "storage" | null): HalfType | null {
  const support = target?.formats[to];
  if (support !== undefined && support.gemm === null) {
    const other = support.fallback;
    return other === "f16" || other === "bf16" ? computedIn(other, target, use) : null;
  }
  return (use ?? support?.use ?? "compute") === "compute" ? to : null;
}

/** Whether a conversion computes in fp16 on the target, so that ranges decide where it may not. */
export function halfNeedsRanges(
  to: HalfType,
  target: Target | null,
  use: "compute" | "storage" | null = null,
): boolean {
  return computedIn(to, target, use) === "f16";
}

/** Operators that a floor keeps in fp32. */
async function preciseFor(
  { to, floor, ...options }: ConvertFloatOptions,
  ctx: PassContext,
): Promise<ReadonlySet<string>> {
  const none: ReadonlySet<string> = new Set();
  const type = computedIn(to, ctx.target, options.use);
  if (floor === null || type === null || (ctx.halfUnsafe !== undefined && !options.force)) return none;
  if (type !== "f16") {
    const why = "there is no arithmetic in bfloat16 here to measure";
    ctx.decide({ node: "", kind: "skipped", rule: "fidelity-floor", why });
    return none;
  }
  return await preciseOperators(floor, ctx, (model, own, precise) =>
    convertFloatTo(to, model.graph, own, options, precise),
  );
}

export const convertFloat = definePass<ConvertFloatOptions>({
  name: "convert-float",
  family: "convert",
  summary: "Converts weights and arithmetic to fp16 or bf16, with fp32 islands where it matters",
  doc: `Where the target computes in the type, every node is converted except islands, which stay fp32 behind as few Casts as
possible:

- values whose magnitude over the sampled trajectory comes within a margin of the largest number, or never reaches the
  normal ones; verification rounds every value and so shows what samples did not reach;
- sums and squares of norms and softmaxes spelled in primitives, and what is computed from them;
- arguments of sine and cosine back to the graph inputs, because a timestep of 999 has no fraction in fp16;
- nodes the recipe names (\`exclude\`), such as layers whose sums are too long for a half accumulator;
- with a \`floor\`, operators whose rounding costs most on the calibration trajectory for the time they save, until it holds;
- constants that do not fit, scales of Resize and other inputs that are fp32 by definition, operators the target has no
  half kernel for, values that subgraphs read.

Cheap nodes between islands join them when that saves Casts; a value is cast once for all its readers. Graph inputs
and outputs keep their types. How a floor is kept depends on the target: by the casts it takes as much as by the
operators. A floor of 56 dB and 37 at the worst step takes the trained DiT of the bench from 53 and 32 dB to 58 and 38
for TensorRT with Mul and LayerNormalization in fp32. Without ranges the operator rules stand alone, and the report
says so.

Where the target computes in fp32 anyway, only the storage changes: each weight becomes half and a Cast, which the
runtime folds when it loads the model, so the result runs exactly as fast as fp32.

A part that is known to overflow stays fp32: the decoder of SDXL and others whose configuration says \`force_upcast\`.
Calibration cannot rule it out there, because what overflows depends on the picture; \`force\` converts it all the
same, with islands.

bfloat16 keeps the range of fp32 and needs no range islands, at a sixteenth of the precision.`,
  effect: "lossy",
  minSqnrDb: 40,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      to: { enum: ["f16", "bf16"], default: "f16", description: "Half type to convert to." },
      use: {
        enum: ["compute", "storage", null],
        default: null,
        description:
          "Compute in the type or only store weights in it; null takes the target's way, storage without a target.",
      },
      minElements: {
        type: "integer",
        minimum: 1,
        default: MIN_ELEMENTS,
        description: "With storage: constants with fewer elements stay fp32.",
      },
      force: {
        type: "boolean",
        default: false,
        description: "Compute in fp16 even where a part is known to overflow; range islands still apply.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description:
          "Regular expression; nodes whose name or operator (MatMul, com.microsoft:GroupNorm) matches stay fp32, with storage the weights they read.",
      },
      floor: floorOption(
        "Fidelity that has to remain on the calibration trajectory where arithmetic is in fp16: operators whose rounding costs most for the time they save stay in fp32 until it does.",
      ),
    },
  },
  wantsRanges: ({ to, use }, target) => halfNeedsRanges(to, target, use),
  wantsOracle: ({ to, use, floor }, target) => floor !== null && computedIn(to, target, use) === "f16",
  version: 4,
  async run(graph, { to, floor, ...options }, ctx) {
    const precise = await preciseFor({ to, floor, ...options }, ctx);
    convertFloatTo(to, graph, ctx, options, precise);
  },
});
