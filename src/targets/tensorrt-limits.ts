import { INTEGER_OPERATORS, NODE_UNITS } from "./claims.ts";
import type { Limits } from "./limits.ts";

/** What NVIDIA's ONNX importer takes; TensorRT and TensorRT-RTX share it. */
export const IMPORTER_LIMITS: Limits = {
  operators: {
    standard: {
      except: [
        ...INTEGER_OPERATORS,
        "Col2Im",
        "GridSampleV2",
        "MaxUnpool",
        "Optional",
        "SequenceConstruct",
        "StringNormalizer",
        "TfIdfVectorizer",
        "Unique",
        "Bernoulli",
        "MelWeightMatrix",
        "DeformConv",
        "TensorScatter",
        "Swish",
      ],
    },
    contrib: [],
  },
  pairs: { operators: NODE_UNITS, types: ["i8", "f8e4m3fn", "f4e2m1", "i4"] },
  symmetric: { types: ["i8", "i4", "f8e4m3fn", "f4e2m1"], operators: INTEGER_OPERATORS },
  blockScales: { axesFromLast: 2, f4Block: 16, evenLast: ["i4", "u4"] },
  importer: {
    attentionRank: 4,
    resize: { modes: ["nearest", "linear"], antialias: false, stretchOnly: true },
    constants: {
      Slice: [3],
      Squeeze: [1],
      Unsqueeze: [1],
      ReduceMean: [1],
      ReduceSum: [1],
      ReduceMax: [1],
      ReduceMin: [1],
    },
  },
  inputPairs: { operators: ["Conv", "ConvTranspose", "MatMul", "Gemm"] },
};
