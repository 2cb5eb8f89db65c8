import type { DType } from "../ir/dtype.ts";

/** A claim about a runtime with where it comes from. `measured` means re-tested on the pinned onnxruntime-node. */
export interface Source {
  readonly claim: string;
  readonly source: string;
  readonly checked: string;
  readonly measured: boolean;
}

/** Weight formats a build can be asked for; what a target does with each is in its `formats`. */
export type WeightFormat = "f32" | "f16" | "bf16" | "w8" | "w4";

/** How a target takes a weight format, per kind of layer. `null`: not supported, with the fallback below. */
export interface FormatSupport {
  readonly gemm: "float" | "dequantize-channel" | "matmul-nbits" | "dequantize-block" | null;
  readonly conv: "float" | "dequantize-channel" | "dequantize-int4" | null;
  /** Format used instead where the entry is null. */
  readonly fallback?: WeightFormat;
  readonly why?: string;
}

/** A target: data only, no functions. Code asks it for capabilities and never compares ids. */
export interface Target {
  readonly id: string;
  readonly title: string;
  readonly kind: "cpu" | "gpu" | "npu";
  /** onnxruntime execution provider and session options a user would load the build with. */
  readonly provider: {
    readonly name: string;
    readonly options: Readonly<Record<string, string | number | boolean>>;
  };
  readonly opset: { readonly min: number; readonly max: number; readonly emit: number };
  readonly shapes: { readonly static: boolean; readonly maxRank: number };
  readonly formats: Readonly<Record<WeightFormat, FormatSupport>>;
  /** Float types the target computes in. */
  readonly compute: readonly DType[];
  /** Ops (`domain:op` or `op`) that must be spelled out in primitives for this target, and fused spellings it wants. */
  readonly spelling: {
    readonly groupNorm: "decomposed" | "GroupNormalization" | "InstanceNormalization";
    readonly layerNorm: "LayerNormalization" | "decomposed";
    readonly gelu: "Gelu" | "com.microsoft.Gelu" | "decomposed";
    readonly silu: "decomposed" | "QuickGelu" | "Swish";
    readonly attention: "decomposed" | "Attention" | "com.microsoft.MultiHeadAttention";
    readonly rmsNorm: "RMSNormalization" | "SimplifiedLayerNormalization" | "decomposed";
  };
  /** Element types of graph inputs and outputs are never changed; values that must stay fp32 in an fp16 build. */
  readonly fp16: {
    readonly keepF32Inputs: readonly { readonly op: string; readonly inputs: readonly number[] }[];
    readonly margin: number;
  };
  readonly align: { readonly channels: number; readonly bytes: number };
  readonly sources: readonly Source[];
}
