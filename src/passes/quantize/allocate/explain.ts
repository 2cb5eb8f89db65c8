import { tensorBytes } from "../../../ir/tensor.ts";
import { timeText } from "../../../targets/cost/time.ts";
import type { PassContext } from "../../pass.ts";
import { additivity } from "./additivity.ts";
import type { Choosing, Chosen } from "./choose.ts";
import { metricDb } from "./metric.ts";

const round = (x: number, digits = 2): number => Number(x.toFixed(digits));

/** One line per weight: what every form would cost and harm alone, and which was taken. */
export function explain(c: Choosing, chosen: Chosen, ctx: PassContext): void {
  for (const [i, w] of c.weights.entries()) {
    const lines = w.options.map((o, k) => {
      const db = round(metricDb(c.bench, c.damages[i]![k]!, "quality")!);
      const time = c.price.unit === "ms" ? ` ${timeText(c.price.cost(w, o) / 1e3, 3)}` : "";
      return `${o.format} ${o.bytes} bytes${time} ${db} dB`;
    });
    const pick = w.options[chosen.picks[i]!]!;
    const error = metricDb(c.bench, c.damages[i]![chosen.picks[i]!]!, "quality")!;
    ctx.decide({
      node: w.name,
      kind: "applied",
      rule: w.guard === null ? "allocate" : `allocate-guard-${w.guard}`,
      why: `alone: ${lines.join(", ")}`,
      from: w.tensor.dtype,
      to: pick.format,
      ...(w.shared.uses.length > 1 && { count: w.shared.uses.length }),
      bytesBefore: tensorBytes(w.tensor),
      bytesAfter: pick.bytes,
      error: { metric: "sqnr-db", value: round(error) },
    });
  }
}

/** What was measured of the whole. */
export function summarise(c: Choosing, chosen: Chosen, ctx: PassContext): void {
  const content = chosen.content === null ? "" : `, ${round(chosen.content)} dB of what the condition does`;
  const bytes = c.weights.reduce((n, w, i) => n + w.options[chosen.picks[i]!]!.bytes, 0);
  const { estimate } = c.price;
  const time =
    estimate === undefined
      ? ""
      : `, estimated at ${timeText((estimate.rest + chosen.cost) / 1e3, 4)} of ${timeText(estimate.before / 1e3, 4)}`;
  const elements = c.weights.reduce((n, w) => n + w.elements, 0);
  ctx.decide({
    node: "",
    kind: "applied",
    rule: "allocation",
    why:
      `${round(chosen.quality)} dB mean${content}, measured together at ${round((8 * bytes) / elements, 3)} bits a weight${time}; ` +
      `summed noises predicted ${round(chosen.predicted)} dB for ${round(chosen.measured)} dB of the objective (content share ${chosen.mix}); ` +
      `${chosen.tried} neighbours measured, ${round(chosen.gained)} dB gained; ` +
      `${chosen.price.toPrecision(3)} dB for one more of the budget's ${c.price.unit}`,
    bytesAfter: bytes,
    error: { metric: "sqnr-db", value: round(chosen.quality) },
  });
}

/** Whether noises add up, on some seeded pairs of weights. */
export async function checkAdditivity(c: Choosing, pairs: number, ctx: PassContext): Promise<void> {
  const found = await additivity(c.bench, c.weights, c.damages, { seed: ctx.seed, pairs });
  if (found !== null)
    ctx.decide({
      node: "",
      kind: "applied",
      rule: "additivity",
      why: `joint noise of ${found.pairs} seeded pairs is ${round(found.least)} to ${round(found.most)} of the sum of the single noises, median ${round(found.median)}`,
    });
}
