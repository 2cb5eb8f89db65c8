import { clip11, dft20, dropout12, intsToInput, pad11, slice10, topK10 } from "./inputs.ts";
import { resize11, resize13, upsample9, upsample10 } from "./resize.ts";
import {
  attention24,
  averagePool19,
  batchNorm9,
  batchNorm14,
  dropout10,
  gridSample20,
  groupNorm21,
  roiAlign16,
  scan9,
  scatter11,
  softmax13,
  split18,
} from "./semantics.ts";
import type { Step } from "./step.ts";

/** Versions whose changes need an edit, by operator of the standard domain (ONNX operator changelog). */
const STEPS: Readonly<Record<string, Readonly<Record<number, Step>>>> = {
  Attention: { 24: attention24 },
  AveragePool: { 19: averagePool19 },
  BatchNormalization: { 9: batchNorm9, 14: batchNorm14 },
  Clip: { 11: clip11 },
  DFT: { 20: dft20 },
  Dropout: { 10: dropout10, 12: dropout12 },
  GridSample: { 20: gridSample20 },
  GroupNormalization: { 21: groupNorm21 },
  Hardmax: { 13: softmax13 },
  LogSoftmax: { 13: softmax13 },
  Pad: { 11: pad11 },
  ReduceL1: { 18: intsToInput("axes", 1) },
  ReduceL2: { 18: intsToInput("axes", 1) },
  ReduceLogSum: { 18: intsToInput("axes", 1) },
  ReduceLogSumExp: { 18: intsToInput("axes", 1) },
  ReduceMax: { 18: intsToInput("axes", 1) },
  ReduceMean: { 18: intsToInput("axes", 1) },
  ReduceMin: { 18: intsToInput("axes", 1) },
  ReduceProd: { 18: intsToInput("axes", 1) },
  ReduceSum: { 13: intsToInput("axes", 1) },
  ReduceSumSquare: { 18: intsToInput("axes", 1) },
  Resize: { 11: resize11, 13: resize13 },
  RoiAlign: { 16: roiAlign16 },
  Scan: { 9: scan9 },
  Scatter: { 11: scatter11 },
  Slice: { 10: slice10 },
  Softmax: { 13: softmax13 },
  Split: { 13: intsToInput("split", 1), 18: split18 },
  Squeeze: { 13: intsToInput("axes", 1) },
  TopK: { 10: topK10 },
  Unsqueeze: { 13: intsToInput("axes", 1) },
  Upsample: { 9: upsample9, 10: upsample10 },
};

/**
 * Versions (8 to 26) that a valid node of the version before satisfies unchanged: more element types, more optional
 * inputs or attributes whose default is the old behaviour, negative axes, clearer wording.
 */
const UNCHANGED = `
Abs 13 · Acos 22 · Acosh 22 · Add 13 14 · ArgMax 11 12 13 · ArgMin 11 12 13 · Asin 22 · Asinh 22 · Atan 22 · Atanh 22 ·
AveragePool 10 11 22 · BatchNormalization 15 · Bernoulli 22 · Cast 9 13 19 21 23 24 25 · CastLike 19 21 23 24 25 ·
Ceil 13 · Clip 12 13 · Compress 11 · Concat 11 13 · Constant 9 11 12 13 19 21 23 24 25 ·
ConstantOfShape 20 21 23 24 25 · Conv 11 22 · ConvTranspose 11 22 · Cos 22 · Cosh 22 · CumSum 14 · DeformConv 22 ·
DepthToSpace 11 13 · DequantizeLinear 13 19 21 23 24 25 · Det 22 · Div 13 14 · Dropout 13 22 · Elu 22 ·
Equal 11 13 19 · Erf 13 · Exp 13 · Expand 13 · EyeLike 22 · Flatten 9 11 13 21 23 24 25 · Floor 13 · GRU 14 22 ·
Gather 11 13 · GatherElements 13 · GatherND 12 13 · Gemm 9 11 13 · GlobalAveragePool 22 · GlobalLpPool 22 ·
GlobalMaxPool 22 · Greater 9 13 · GreaterOrEqual 16 · GridSample 22 · HardSigmoid 22 · HardSwish 22 · Hardmax 11 ·
Identity 13 14 16 19 21 23 24 25 · If 11 13 16 19 21 23 24 25 · InstanceNormalization 22 · IsInf 20 · IsNaN 13 20 ·
LRN 13 · LSTM 14 22 · LeakyRelu 16 · Less 9 13 · LessOrEqual 16 · Log 13 · LogSoftmax 11 ·
Loop 11 13 16 19 21 23 24 25 · LpNormalization 22 · LpPool 11 18 22 · MatMul 9 13 · Max 8 12 13 ·
MaxPool 8 10 11 12 22 · MaxRoiPool 22 · MaxUnpool 11 22 · Mean 8 13 · MeanVarianceNormalization 13 · Min 8 12 13 ·
Mish 22 · Mod 13 · Mul 13 14 · Multinomial 22 · Neg 13 · NegativeLogLikelihoodLoss 13 22 · NonMaxSuppression 11 ·
NonZero 13 · OneHot 11 · OptionalGetElement 18 · OptionalHasElement 18 · PRelu 9 16 · Pad 13 18 19 21 23 24 25 ·
Pow 12 13 15 · QLinearMatMul 21 · QuantizeLinear 13 19 21 23 24 25 · RNN 14 22 · RandomNormal 22 ·
RandomNormalLike 22 · RandomUniform 22 · RandomUniformLike 22 · Reciprocal 13 · ReduceL1 11 13 · ReduceL2 11 13 ·
ReduceLogSum 11 13 · ReduceLogSumExp 11 13 · ReduceMax 11 12 13 20 · ReduceMean 11 13 · ReduceMin 11 12 13 20 ·
ReduceProd 11 13 · ReduceSum 11 · ReduceSumSquare 11 13 · Relu 13 14 · Reshape 13 14 19 21 23 24 25 ·
Resize 18 19 · RoiAlign 22 · Round 22 · Scan 11 16 19 21 23 24 25 · ScatterElements 13 16 18 · ScatterND 13 16 18 ·
Selu 22 · Shape 13 15 19 21 23 24 25 · Sigmoid 13 · Sign 13 · Sin 22 · Sinh 22 · Size 13 19 21 23 24 25 ·
Slice 11 13 · Softmax 11 · SoftmaxCrossEntropyLoss 13 · Softplus 22 · Softsign 22 · SpaceToDepth 13 · Split 11 ·
SplitToSequence 24 ·
Sqrt 13 · Squeeze 11 21 23 24 25 · Sub 13 14 · Sum 8 13 · Tan 22 · Tanh 13 · ThresholdedRelu 10 22 · Tile 13 ·
TopK 11 24 · Transpose 13 21 23 24 25 · Unsqueeze 11 21 23 24 25 · Where 16
`;

const UNCHANGED_VERSIONS: ReadonlyMap<string, ReadonlySet<number>> = new Map(
  UNCHANGED.split("·").map((row) => {
    const [op = "", ...versions] = row.trim().split(/\s+/);
    return [op, new Set(versions.map(Number))];
  }),
);

/** What going to `version` of an operator takes: an edit, nothing (`null`), or `undefined` when no rule says. */
export function stepTo(op: string, version: number): Step | null | undefined {
  return STEPS[op]?.[version] ?? (UNCHANGED_VERSIONS.get(op)?.has(version) ? null : undefined);
}

/** Versions above `from`, up to `to`, that the tables know for an operator. */
export function knownVersions(op: string): readonly number[] {
  return [...Object.keys(STEPS[op] ?? {}).map(Number), ...(UNCHANGED_VERSIONS.get(op) ?? [])];
}
