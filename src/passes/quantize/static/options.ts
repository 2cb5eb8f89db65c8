import type { SaturationRule } from "../../../numeric/quantize/saturation.ts";
import type { JsonSchema } from "../../pass.ts";
import type { FidelityFloor } from "./damage.ts";
import type { Activations } from "./plan.ts";

/** Options of `quantize-static`. */
export interface QuantizeStaticOptions {
  readonly saturation: SaturationRule;
  readonly time: "gathered" | "constant";
  readonly activations: Activations;
  readonly smooth: boolean;
  readonly correctBias: boolean;
  readonly floor: FidelityFloor | null;
  readonly faster: boolean;
  readonly rows: number;
  readonly match: string | null;
  readonly exclude: string | null;
  readonly guards: boolean;
  readonly minElements: number;
}

const pattern = (description: string) => ({ type: ["string", "null"], default: null, description });
const flag = (value: boolean, description: string) => ({ type: "boolean", default: value, description });

/** JSON Schema of {@link QuantizeStaticOptions}. */
export const staticOptions: JsonSchema = {
  type: "object",
  additionalProperties: false,
  properties: {
    saturation: {
      enum: ["pairs", "seven-bit", "none"],
      default: "pairs",
      description:
        "What keeps 16-bit additions of x86 processors without VNNI exact: scales at which no two neighbouring weights can overflow, weights of 7 bits, or nothing.",
    },
    time: {
      enum: ["gathered", "constant"],
      default: "gathered",
      description: "Scales that follow the timestep, looked up in a table, or one scale for all steps.",
    },
    activations: {
      enum: ["channel", "source", "tensor"],
      default: "channel",
      description:
        "Scales of a convolution's input and output: one per channel, one per source of a concatenation, or one.",
    },
    smooth: flag(
      true,
      "Give the input of linear layers a scale per channel where the norm before them can absorb it.",
    ),
    correctBias: flag(true, "Take the mean of the weights' rounding error out of the bias."),
    floor: {
      anyOf: [
        {
          type: "object",
          additionalProperties: false,
          required: ["mean", "worst"],
          properties: {
            mean: { type: "number", description: "Mean SQNR over the steps, dB." },
            worst: { type: "number", description: "SQNR of the worst step, dB." },
          },
        },
        { type: "null" },
      ],
      default: null,
      description:
        "Fidelity that has to remain on the calibration trajectory: layers whose measured damage is largest for what they save stay float until it does.",
    },
    faster: flag(true, "Leave layers float where conversions are estimated to cost more than 8 bits save."),
    rows: {
      type: "integer",
      minimum: 0,
      default: 32,
      description: "Positions per call that the range search sees.",
    },
    match: pattern("Regular expression; only layers whose node name matches are quantized."),
    exclude: pattern("Regular expression; layers whose node name matches stay float."),
    guards: flag(
      true,
      "Keep first and last layers, the time path and layers that read a graph input in float. Lifting it is reported.",
    ),
    minElements: {
      type: "integer",
      minimum: 1,
      default: 1024,
      description: "Layers with fewer weights stay float.",
    },
  },
};
