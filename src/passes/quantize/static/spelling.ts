import type { Model } from "../../../ir/graph.ts";
import { F8_STEPS, S8_STEPS, S16_STEPS, U8_STEPS, U16_STEPS } from "../../../numeric/quantize/activation.ts";
import type { SaturationRule } from "../../../numeric/quantize/saturation.ts";
import { type ActivationBits, quantizeDomain } from "../../../targets/lower/qdq.ts";
import type { IntegerSupport, Target, TimeScales } from "../../../targets/target.ts";
import type { Decision } from "../../pass.ts";
import { blockOf, float8Of } from "./numbers.ts";
import type { MovingRules } from "./one-grid.ts";
import type { QuantizeStaticOptions, TimeForm } from "./options.ts";
import type { QdqForm } from "./write-qdq.ts";

/** How a build writes its integer layers. */
export interface Spelling {
  /** `null`: operators on integers. */
  readonly qdq: QdqForm | null;
  readonly bits: ActivationBits;
  readonly time: TimeForm;
  /** Most buckets of timesteps with scales of their own; `null`: scales follow every step. */
  readonly buckets: number | null;
  readonly weightScales: IntegerSupport["weightScales"];
  readonly powerOfTwo: boolean;
  readonly saturation: SaturationRule;
  /** Kinds of layers that are written in fp8, the others stay float; `null`: integers. */
  readonly float8: IntegerSupport["float8"] | null;
  /** Inputs to a block of 4-bit weights in linear layers; `null`: weights have 8 bits. */
  readonly block: number | null;
  /** How data is moved between quantized layers on integers; `null`: in float. */
  readonly moving: Omit<MovingRules, "graph"> | null;
}

/** What every runtime with Q and DQ takes, processors that saturate among them. */
const PORTABLE: IntegerSupport = {
  spelling: "qdq",
  activations: "u8",
  scales: "constant",
  weightScales: "all",
  dynamic: false,
  saturates: true,
};

/** Integer arithmetic of a target, of every runtime where there is no target; `null` where there is none. */
export function integerOf(target: Target | null): IntegerSupport | null {
  return target === null ? PORTABLE : target.integer;
}

/** Whether activations are signed around 0, weights too. */
const isSigned = ({ activations }: IntegerSupport): boolean => activations === "s8" || activations === "s16";

/** Levels above the lowest one of the grids that activations get. */
export function stepsOf({ qdq, bits }: Pick<Spelling, "qdq" | "bits">): number {
  if (qdq?.float8 === true) return F8_STEPS;
  if (qdq?.signed === true) return bits === 8 ? S8_STEPS : S16_STEPS;
  return bits === 8 ? U8_STEPS : U16_STEPS;
}

/** Buckets where a graph each is written and nothing else is asked: more hardly gain, and each is a session to load. */
const GRAPHS = 4;

const ORDER: readonly TimeScales[] = ["constant", "normalised", "gathered"];

function timeOf(
  asked: TimeForm | null,
  integer: IntegerSupport,
  o: { readonly portable: boolean; readonly qdq: boolean; decide(d: Decision): void },
): TimeForm {
  const wanted = asked ?? integer.scales;
  const instead = (to: TimeScales, why: string): TimeScales => {
    o.decide({ node: "", kind: "downgraded", rule: "time-scales", why, from: wanted, to });
    return to;
  };
  if (wanted === "graphs")
    return o.portable || integer.scales === "constant"
      ? wanted
      : instead(integer.scales, "the target takes scales that move: one graph does what several would");
  if (!o.portable && ORDER.indexOf(wanted) > ORDER.indexOf(integer.scales))
    return instead(integer.scales, "the target wants constant scales");
  if (!o.qdq && wanted === "normalised")
    return instead("gathered", "operators on integers look their scales up, which costs nothing");
  return wanted;
}

/** Resolves options against what the target takes; what is done otherwise than asked is decided. */
export function spellingOf(
  o: Pick<QuantizeStaticOptions, "numbers" | "bits" | "weights" | "time" | "buckets" | "saturation">,
  integer: IntegerSupport,
  ctx: { readonly model: Model; readonly target: Target | null; decide(d: Decision): void },
): Spelling {
  const own: ActivationBits = integer.activations === "u16" || integer.activations === "s16" ? 16 : 8;
  const float8 = float8Of(o, integer, ctx);
  const bits = float8 !== null ? 8 : (o.bits ?? own);
  const qdq = integer.spelling === "qdq" || bits === 16;
  if (integer.spelling === "qlinear" && bits === 16)
    ctx.decide({
      node: "",
      kind: "forced",
      rule: "wide-activations",
      why: "the target has no operators on 16-bit integers: layers run in float between conversions, which is slower",
    });
  const time = timeOf(o.time, integer, { portable: ctx.target === null, qdq, decide: ctx.decide });
  if (o.buckets !== null && time === "constant")
    ctx.decide({
      node: "",
      kind: "downgraded",
      rule: "time-buckets",
      why: "one scale covers all steps, so nothing is cut into buckets",
    });
  const opset = ctx.model.opsets.get("") ?? 1;
  const form: QdqForm = {
    bits,
    domain: quantizeDomain(opset, bits),
    weightDomain: quantizeDomain(opset, 8),
    signed: isSigned(integer),
    float8: float8 !== null,
    time,
    placement: integer.placement ?? "around",
    weightScales: integer.weightScales,
    powerOfTwo: integer.powerOfTwo === true,
  };
  return {
    qdq: qdq ? form : null,
    bits,
    time,
    buckets: o.buckets ?? (time === "graphs" ? GRAPHS : null),
    weightScales: integer.weightScales,
    powerOfTwo: integer.powerOfTwo === true,
    saturation: integer.saturates && bits === 8 ? o.saturation : "none",
    float8,
    block: blockOf(o, integer, { ...ctx, bits }),
    moving:
      qdq && form.placement === "around" && integer.moves !== undefined
        ? { operators: integer.moves, wide: bits === 16 }
        : null,
  };
}
