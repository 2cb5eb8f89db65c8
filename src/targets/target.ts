import type { DType } from "../ir/dtype.ts";
import type { PatternName } from "../numeric/sparsify/pattern.ts";
import type { Limits } from "./limits.ts";
import type { Machine } from "./machine.ts";

/** A claim about a runtime with where it comes from. `measured` means re-tested on the pinned onnxruntime-node. */
export interface Source {
  /** Path of the field or group the claim backs, e.g. `formats.w8` or `spelling`; a field may have several claims. */
  readonly field: string;
  readonly claim: string;
  readonly source: string;
  /** Day the claim was checked, ISO 8601. */
  readonly checked: string;
  readonly measured: boolean;
}

/** Weight formats a build can be asked for; what a target does with each is in its `formats`. */
export type WeightFormat = "f32" | "f16" | "bf16" | "w8" | "w4" | "w2" | "f4";

/** Formats that every descriptor speaks of; where the others are absent the target does not have them. */
type CommonFormat = Exclude<WeightFormat, "f4">;

/**
 * How a quantized weight is spelled in the graph.
 *
 * - `float`: not quantized;
 * - `dequantize-channel`: DequantizeLinear with one scale per output channel, evaluated on every run;
 * - `fold-channel`: Cast and Mul with one scale per output channel, which the runtime folds when it loads the model:
 *   small on disk, float in memory, float speed;
 * - `fold-block`: the same with one scale per block of input elements, then a Reshape;
 * - `matmul-nbits`: `com.microsoft.MatMulNBits`, small in memory too;
 * - `dequantize-block`: DequantizeLinear with `block_size` (opset 21);
 * - `dequantize-nvfp4`: the same of E2M1 numbers in blocks of 16, whose E4M3FN scales stand behind a DequantizeLinear of
 *   their own with one float32 scale (opset 23).
 */
export type WeightSpelling =
  | "float"
  | "dequantize-channel"
  | "fold-channel"
  | "fold-block"
  | "matmul-nbits"
  | "dequantize-block"
  | "dequantize-nvfp4";

/** How a target takes a weight format, per kind of layer. `null`: not supported, with the fallback below. */
export interface FormatSupport {
  readonly gemm: WeightSpelling | null;
  readonly conv: WeightSpelling | null;
  /** Format used instead where the entry is null. */
  readonly fallback?: CommonFormat;
  /** Why the format falls back. */
  readonly why?: string;
  /** What a user should know about a supported format, for example that it saves size only. */
  readonly note?: string;
  /** The target takes no zero points: grids are symmetric whatever is asked. */
  readonly symmetricOnly?: boolean;
  /** `accuracy_level` written on MatMulNBits. */
  readonly accuracyLevel?: number;
  /** Float formats: `compute` runs in the type, `storage` keeps it on disk and computes in fp32. */
  readonly use?: "compute" | "storage";
}

/** How a target runs layers whose weights and activations are both integers. */
export interface IntegerSupport {
  /** `qlinear`: operators on integers (QLinearConv, MatMulIntegerToFloat); `qdq`: QuantizeLinear and DequantizeLinear around float operators. */
  readonly spelling: "qlinear" | "qdq";
  /** Activations where nothing else is asked: unsigned around a zero point, or signed around 0. */
  readonly activations: "u8" | "u16" | "s8" | "s16";
  /**
   * How ranges may follow the timestep: scales looked up in a table; a looked-up factor outside of constant scales;
   * not at all.
   */
  readonly scales: TimeScales;
  /** Weights that may have a scale per output: all, those of convolutions, or none. */
  readonly weightScales: "all" | "conv" | "none";
  /**
   * Of `qdq`: `around` makes one integer kernel of DQ, operator and Q, with biases in int32; `inputs` wants Q and DQ on
   * the inputs of layers alone and biases in float, and fuses what follows by itself.
   */
  readonly placement?: "around" | "inputs";
  /**
   * Of `around`: operators that pass integers on as they are where their inputs and their output have one grid, a Concat
   * over the union of what it joins; absent: data between conversions is moved in float.
   */
  readonly moves?: readonly string[];
  /** Every scale is a power of two. */
  readonly powerOfTwo?: boolean;
  /**
   * Linear layers with activations of 16 bits may have 4-bit weights in blocks of so many inputs, whose scales are
   * integers of 4 bits times a unit per output; absent: 8 bits only.
   */
  readonly expandedBlock?: number;
  /** Layers that run on fp8 numbers (E4M3FN) instead of integers, converted on their inputs alone; absent: none. */
  readonly float8?: readonly ("conv" | "matmul")[];
  /** `com.microsoft.DynamicQuantizeMatMul` is faster than a float product. */
  readonly dynamic: boolean;
  /** Products of unsigned activations and signed weights are added in 16 bits on some processors. */
  readonly saturates: boolean;
}

/** See {@link IntegerSupport.scales}; each way also allows those after it. */
export type TimeScales = "gathered" | "normalised" | "constant";

/** Rules of half-precision graphs on a target. Element types of graph inputs and outputs are never changed. */
export interface HalfRules {
  /** Inputs (by index) that the operator's definition or the kernel wants in fp32 whatever the others are. */
  readonly keepF32Inputs: readonly { readonly op: string; readonly inputs: readonly number[] }[];
  /** Operators without a half kernel or definition, and those whose half form loses too much. */
  readonly f32Ops: readonly string[];
  /** Operators whose argument needs fp32 precision all the way from the graph inputs (angles). */
  readonly f32Ancestors: readonly string[];
  /** A value whose magnitude over the trajectory exceeds the largest finite number divided by this stays fp32. */
  readonly margin: number;
}

/** What a variant of a target may have otherwise: whole capabilities, and single limits. */
export type Overrides = Partial<
  Pick<
    Target,
    | "title"
    | "provider"
    | "opset"
    | "shapes"
    | "compute"
    | "integer"
    | "integerWhy"
    | "sparsity"
    | "half"
    | "machine"
  >
> & {
  readonly formats?: Partial<Target["formats"]>;
  readonly spelling?: Partial<Target["spelling"]>;
  readonly limits?: Limits;
};

/** One kind of device or toolchain within a target. */
export interface Variant {
  /** What it is, in a few words. */
  readonly title: string;
  /** What differs from the descriptor, which describes the default variant. */
  readonly overrides: Overrides;
}

/** Variants of a target, chosen with `id:variant`. */
export interface Variants {
  /** Taken where none is named; it overrides nothing. */
  readonly default: string;
  readonly of: Readonly<Record<string, Variant>>;
}

/** A target: data only, no functions. Code asks it for capabilities and never compares ids. */
export interface Target {
  /** `id`, or `id:variant` once a variant other than the default is chosen. */
  readonly id: string;
  readonly title: string;
  readonly kind: "cpu" | "gpu" | "npu";
  /** onnxruntime execution provider and session options a user would load the build with. */
  readonly provider: {
    readonly name: string;
    readonly options: Readonly<Record<string, string | number | boolean>>;
  };
  /** Versions of the standard domain: what the runtime loads, and what builds are written in. */
  readonly opset: { readonly min: number; readonly max: number; readonly emit: number };
  readonly shapes: { readonly static: boolean; readonly maxRank: number };
  readonly formats: Readonly<Record<CommonFormat, FormatSupport> & Partial<Record<"f4", FormatSupport>>>;
  /** Float types the target computes in. */
  readonly compute: readonly DType[];
  /** How operators with several spellings are written for this target. */
  readonly spelling: {
    readonly groupNorm:
      | "decomposed"
      | "GroupNormalization"
      | "InstanceNormalization"
      | "com.microsoft.GroupNorm";
    readonly layerNorm: "LayerNormalization" | "decomposed";
    readonly gelu: "Gelu" | "com.microsoft.Gelu" | "decomposed";
    /** The half of a feed-forward's channels that passes times the GELU of the other, with the bias in front of both. */
    readonly geglu: "decomposed" | "com.microsoft.BiasSplitGelu";
    readonly silu: "decomposed" | "QuickGelu" | "Swish";
    readonly attention: "decomposed" | "Attention" | "com.microsoft.MultiHeadAttention";
    readonly rmsNorm: "RMSNormalization" | "SimplifiedLayerNormalization" | "decomposed";
    /** A factor and an offset per channel, as they follow a group normalisation. */
    readonly affine: "BatchNormalization" | "decomposed";
    /** 1×1 convolutions at the border of image and tokens. */
    readonly pointwise: "Conv" | "MatMul";
  };
  /**
   * Present where MultiHeadAttention gains from queries, keys and values (self-attention) or keys and values
   * (cross-attention) in one tensor, which one product makes: element types for which.
   */
  readonly packedAttention?: { readonly types: readonly DType[] };
  /** `null`: the target has no integer arithmetic that is worth writing; `integerWhy` says why. */
  readonly integer: IntegerSupport | null;
  readonly integerWhy?: string;
  /** What a weight looked up in a codebook saves there: disk, memory or time. */
  readonly palettes: string;
  /** Patterns of zeros in dense weights that kernels skip, and what a user should know about zeros there. */
  readonly sparsity: { readonly fast: readonly PatternName[]; readonly note: string };
  /** Present where the provider has no kernels that compute with int64: what that means for graph inputs of the type. */
  readonly int64?: { readonly why: string };
  readonly half: HalfRules;
  /** Channel multiple kernels like, and alignment of external data in bytes. */
  readonly align: { readonly channels: number; readonly bytes: number };
  /** A machine of this target and its rates, for estimates; without one there are none. */
  readonly machine?: Machine;
  /** What the checker compares graphs with. */
  readonly limits: Limits;
  readonly variants?: Variants;
  readonly sources: readonly Source[];
}
