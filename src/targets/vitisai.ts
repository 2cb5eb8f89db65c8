import {
  claims,
  FOLDS,
  HALF,
  MOVING_UNITS,
  NODE_UNITS,
  ORT_SOURCE,
  SESSION,
  SESSION_CLAIMS,
} from "./claims.ts";
import { XDNA2, XDNA2_CLAIMS } from "./machines/amd.ts";
import type { Target } from "./target.ts";

const DOCS = "AMD Ryzen AI 1.5 operator support and model quantization pages";

/** What its integer formats share; scales per tensor are what every toolchain version takes. */
const INTEGER = {
  spelling: "qdq",
  moves: MOVING_UNITS,
  scales: "constant",
  weightScales: "none",
  placement: "around",
  dynamic: false,
  saturates: false,
} as const;

/** AMD's NPU through onnxruntime's VitisAI provider. Nothing here is measured. */
export const vitisai: Target = {
  id: "vitisai",
  title: "AMD Ryzen AI NPU through onnxruntime VitisAI",
  kind: "npu",
  provider: { name: "vitisai", options: {} },
  opset: { min: 7, max: 20, emit: 17 },
  shapes: { static: true, maxRank: 6 },
  formats: {
    f32: {
      gemm: "float",
      conv: "float",
      note: "converted to bfloat16 when the model is compiled for the NPU",
    },
    f16: { gemm: "float", conv: "float", use: "storage", note: FOLDS },
    bf16: {
      gemm: null,
      conv: null,
      fallback: "f32",
      why: "the compiler converts fp32 models to bfloat16 itself and takes no bfloat16 file",
    },
    w8: { gemm: "fold-channel", conv: "fold-channel", note: FOLDS },
    w4: {
      gemm: null,
      conv: null,
      fallback: "w8",
      why: "4-bit constants need opset 21, and packed products are documented for language models only",
    },
    w2: { gemm: null, conv: null, fallback: "w8", why: "2-bit weights are not documented" },
  },
  compute: ["f32"],
  spelling: {
    groupNorm: "InstanceNormalization",
    layerNorm: "LayerNormalization",
    gelu: "decomposed",
    geglu: "decomposed",
    silu: "decomposed",
    attention: "decomposed",
    rmsNorm: "decomposed",
    affine: "decomposed",
    pointwise: "Conv",
  },
  integer: null,
  integerWhy: "this variant computes in bfloat16: xint8, a8w8 and a16w8 are the ones on integers",
  palettes:
    "a size format: codebooks are looked up before the graph is compiled, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "no option reads zeros in weights: they cost time and memory like other weights",
  },
  half: HALF,
  align: { channels: 16, bytes: 4096 },
  machine: XDNA2,
  limits: {
    ...SESSION,
    operators: {
      standard: {
        except: ["Attention", "RMSNormalization", "RotaryEmbedding", "Swish", "Loop", "If", "Scan"],
      },
      contrib: ["NhwcConv", "QuantizeLinear", "DequantizeLinear"],
    },
    column: {
      format: "bf16",
      absent: ["GroupNormalization", "LayerNormalization", "Softmax", "Gelu"],
      powerOfTwo: false,
    },
  },
  variants: {
    default: "bf16",
    of: {
      bf16: { title: "bfloat16", overrides: {} },
      xint8: {
        title: "XINT8",
        overrides: {
          integer: { ...INTEGER, activations: "s8", powerOfTwo: true },
          limits: {
            column: {
              format: "xint8",
              absent: ["Sigmoid", "ConvTranspose", "Einsum", "Gather"],
              powerOfTwo: true,
            },
            pairs: { operators: NODE_UNITS, types: ["i8"] },
            integerBias: { tolerance: 1e-5 },
          },
        },
      },
      a8w8: {
        title: "A8W8",
        overrides: {
          integer: { ...INTEGER, activations: "s8" },
          limits: {
            column: {
              format: "a8w8",
              absent: ["LayerNormalization", "Erf", "Einsum", "Gather"],
              powerOfTwo: false,
            },
            pairs: { operators: NODE_UNITS, types: ["i8", "u8"] },
            integerBias: { tolerance: 1e-5 },
          },
        },
      },
      a16w8: {
        title: "A16W8",
        overrides: {
          integer: { ...INTEGER, activations: "s16" },
          limits: {
            column: {
              format: "a16w8",
              absent: ["LayerNormalization", "Erf", "Resize", "Einsum", "Gather"],
              powerOfTwo: false,
            },
            pairs: { operators: NODE_UNITS, types: ["i16", "u16", "i8"] },
            integerBias: { tolerance: 1e-5 },
          },
        },
      },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...XDNA2_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      provider: "the provider compiles when the session is made and caches",
      opset: "opset 17 is what the guides export; the ceiling is unverified",
      shapes: "it takes static shapes only",
      "formats.f32": "fp32 models are converted to bfloat16 when they are compiled",
      "formats.bf16": "the bfloat16 flow starts from an fp32 file",
      "formats.w4": "MatMulNBits is documented for language models",
      "formats.w2": "2 bits are not documented",
      compute: "bfloat16 or integers inside",
      spelling: "support by operator and number format",
      "spelling.groupNorm":
        "InstanceNormalization is in every column, GroupNormalization not in that of bfloat16",
      integer: "XINT8 is symmetric with scales that are powers of two; A8W8 and A16W8 have float scales",
      sparsity: "no option for sparse weights is documented",
      align: "channels in multiples of 16 fill the array",
      "limits.column": "the table of operators by number format",
      "limits.pairs": "quantized models carry Q/DQ pairs",
      "limits.integerBias": "biases are int32 on the grid of the product",
      "variants.bf16":
        "the column of bfloat16 has no GroupNormalization, LayerNormalization, Softmax and Gelu",
      "variants.xint8": "int8 symmetric with scales that are powers of two",
      "variants.a8w8": "8-bit activations and weights with float scales",
      "variants.a16w8": "16-bit activations and 8-bit weights",
    }),
    ...claims(ORT_SOURCE, "2026-11-26", {
      integer:
        "operators that only move data lose their conversions where scale and zero point are one on both sides; other pairs are kept",
    }),
    ...claims(ORT_SOURCE, "2026-11-23", {
      "formats.f16": "Cast of a constant folds before nodes are given to the provider",
      "formats.w8": "constants fold before nodes are given to the provider",
      palettes: "constant folding happens before nodes are given to a provider",
      "limits.operators": "what the compiler does not take stays on the CPU",
    }),
  ],
};
