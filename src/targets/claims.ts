import type { Limits } from "./limits.ts";
import type { HalfRules, Source } from "./target.ts";

/** Claims that one source backs, none of them re-tested here. `field` may name a group such as `spelling`. */
export function claims(
  source: string,
  checked: string,
  rows: Readonly<Record<string, string>>,
): readonly Source[] {
  return Object.entries(rows).map(([field, claim]) => ({ field, claim, source, checked, measured: false }));
}

/** Claims re-tested on the pinned onnxruntime-node; `on` says with which provider. */
export function measured(
  on: string,
  checked: string,
  rows: Readonly<Record<string, string>>,
): readonly Source[] {
  return claims(on, checked, rows).map((s) => ({ ...s, measured: true }));
}

/** The CPU provider of the pinned runtime. */
export const ORT_CPU = "onnxruntime-node 1.30.0, CPU execution provider";
/** Sources of onnxruntime that descriptors of other providers were read from. */
export const ORT_SOURCE = "onnxruntime source of 2026-03";

/** Rules of half precision that hold wherever onnxruntime's operators are used. */
export const HALF: HalfRules = {
  keepF32Inputs: [
    { op: "Resize", inputs: [1, 2] },
    { op: "Upsample", inputs: [1] },
    { op: "com.microsoft:GroupNorm", inputs: [1, 2] },
    { op: "com.microsoft:SkipGroupNorm", inputs: [1, 2] },
  ],
  f32Ops: ["Range", "CumSum", "NonMaxSuppression", "RoiAlign"],
  f32Ancestors: ["Sin", "Cos"],
  margin: 4,
};

/** What every session of onnxruntime demands of a file, whatever the provider. */
export const SESSION: Pick<Limits, "runtime" | "externalKeys"> = {
  runtime: { ir: 13, opset: 26 },
  externalKeys: ["location", "offset", "length", "checksum"],
};

/** Where {@link SESSION}, {@link HALF} and what every target shares come from. */
export const SESSION_CLAIMS: readonly Source[] = [
  ...measured(ORT_CPU, "2026-11-26", {
    "limits.runtime": "models above opset 26 or IR version 13 are refused when they load",
    "limits.externalKeys":
      "external data with an absolute path, a path that climbs out, a wrong length or an unknown key is refused when the model loads; the checksum is not verified",
  }),
  ...claims("ONNX operator specification; onnxruntime float16 converter", "2026-11-23", {
    half: "Resize scales, and gamma and beta of com.microsoft GroupNorm, stay fp32; Range, CumSum, NonMaxSuppression and RoiAlign are kept in fp32 by onnxruntime's own converter; fp16 has a largest value of 65504",
  }),
];

/** Arithmetic behind a scale that folds, shared by targets for which integer weights are a size format. */
export const FOLDS =
  "a size format: widened when the model loads, before nodes are given to the provider; memory and speed are those of floats";

/** Operators between DequantizeLinear and QuantizeLinear that providers group into one node unit. */
export const NODE_UNITS: readonly string[] = [
  "Conv",
  "ConvTranspose",
  "MatMul",
  "Gemm",
  "Einsum",
  "InstanceNormalization",
  "LayerNormalization",
  "BatchNormalization",
  "RMSNormalization",
  "Softmax",
  "LogSoftmax",
  "Sigmoid",
  "Tanh",
  "Gelu",
  "Erf",
  "Elu",
  "HardSwish",
  "HardSigmoid",
  "LeakyRelu",
  "Resize",
  "Pad",
  "Split",
  "Concat",
  "Where",
  "Add",
  "Sub",
  "Mul",
  "Div",
  "Pow",
  "Sqrt",
  "Exp",
  "ReduceMean",
  "ReduceSum",
  "ReduceMax",
  "ReduceMin",
  "Slice",
  "Gather",
  "Clip",
  "Relu",
  "TopK",
  "Reshape",
  "Transpose",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Expand",
  "Tile",
  "DepthToSpace",
  "SpaceToDepth",
  "MaxPool",
  "AveragePool",
  "GlobalAveragePool",
  "ArgMax",
  "ArgMin",
  "Abs",
  "Neg",
  "Floor",
  "Ceil",
  "Round",
  "Min",
  "Max",
  "PRelu",
  "LpNormalization",
];

/** Those of them that only move data: a grid passes through them. */
export const MOVING_UNITS: readonly string[] = [
  "Concat",
  "DepthToSpace",
  "Expand",
  "Flatten",
  "Gather",
  "MaxPool",
  "Pad",
  "Reshape",
  "Resize",
  "Slice",
  "SpaceToDepth",
  "Split",
  "Squeeze",
  "Tile",
  "Transpose",
  "Unsqueeze",
];

/** Standard operators that only onnxruntime's own providers run. */
export const INTEGER_OPERATORS: readonly string[] = [
  "QLinearConv",
  "QLinearMatMul",
  "ConvInteger",
  "MatMulInteger",
  "DynamicQuantizeLinear",
];
