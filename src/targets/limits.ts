import type { DType } from "../ir/dtype.ts";

/**
 * Operators a provider takes. Keys are `Op` of the standard domain; operators of `com.microsoft` are listed without it.
 * What is missing runs on the CPU beside the accelerator, or nowhere: see {@link Limits.noKernel}.
 */
export interface OperatorSet {
  /** Standard operators: the only ones taken, or all but some. */
  readonly standard: { readonly only: readonly string[] } | { readonly except: readonly string[] };
  /** Operators of `com.microsoft` that are taken. */
  readonly contrib: readonly string[];
}

/** Forms of Resize a compiler takes; what is absent is not restricted. */
export interface ResizeLimits {
  readonly modes?: readonly string[];
  readonly antialias?: boolean;
  /** Interpolation that fails in half precision. */
  readonly notInHalf?: readonly string[];
  readonly coordinates?: readonly string[];
  /** `nearest_mode` values for nearest interpolation. */
  readonly nearest?: readonly string[];
  /** `keep_aspect_ratio_policy` must be `stretch`. */
  readonly stretchOnly?: boolean;
  /** Scales and sizes must be constants. */
  readonly constantScales?: boolean;
  /** Only the last two axes may change. */
  readonly spatialOnly?: boolean;
  /** Scales must be whole numbers. */
  readonly wholeScales?: boolean;
  readonly excludeOutside?: boolean;
}

/** What a kernel of `com.microsoft.MatMulNBits` wants of its shapes, to run at all or to run fast. */
export interface PackedProductLimits {
  readonly bits?: readonly number[];
  readonly blocks?: readonly number[];
  /** The summed length must be a multiple of this, or of the block. */
  readonly kMultiple?: number | "block";
  /** The number of outputs must be a multiple of this, by bits. */
  readonly nMultiple?: Readonly<Record<number, number>>;
  readonly bias?: boolean;
  readonly groupIndex?: boolean;
  /** Bits at which zero points are not taken. */
  readonly noZeroPointsAt?: readonly number[];
}

/** `com.microsoft.GroupNorm` and `BiasSplitGelu` as their kernels take them. */
export interface FusedShapeLimits {
  /** GroupNorm reads [N, H, W, C] only; otherwise [N, C, H, W] too. */
  readonly channelsLast: boolean;
  /** Type of gamma and beta whatever type the data have; absent: any. */
  readonly parameters?: DType;
  /** The importer reads one gamma and beta per group, where the operator has one per channel. */
  readonly parametersPerGroup?: boolean;
  /** Channels per group are even. */
  readonly evenChannels: boolean;
  /** Most channels of one group. */
  readonly groupMax?: number;
  /** Lengths of the last axis BiasSplitGelu has kernels for; absent: any. */
  readonly splitGeluWidths?: readonly number[];
}

/** What a fused attention kernel takes. */
export interface AttentionLimits {
  readonly headMultiple?: number;
  readonly headMax?: number;
  /** Whether masks and biases keep the fast kernel. */
  readonly mask?: boolean;
  /** Whether the standard operator may have a boolean mask. */
  readonly boolMask?: boolean;
  readonly softcap?: boolean;
}

/**
 * What a runtime does with a model, as data: each field is a capability that a row of the rule table
 * (`src/targets/check/rules`) compares with a graph. A field that is absent restricts nothing.
 */
export interface Limits {
  /** Newest IR version and opset any session loads. */
  readonly runtime?: { readonly ir: number; readonly opset: number };
  /** Keys that external data may have; others are refused when the model loads. */
  readonly externalKeys?: readonly string[];
  readonly operators?: OperatorSet;
  /** Operators for which no kernel exists on the target, its CPU fallback included: the session fails. */
  readonly noKernel?: readonly string[];
  /** Where `false`, MultiHeadAttention has kernels for queries, keys and values apart alone. */
  readonly packedAttention?: boolean;
  /** Element types nothing computes in. */
  readonly noKernelTypes?: readonly DType[];
  /** Operators that are written out when the session is made, with no kernel of their own. */
  readonly inlined?: readonly string[];
  /** From this opset on, three-dimensional products of signed activations with a bias fail to load. */
  readonly signedProducts?: { readonly fromOpset: number };
  /** Integer biases sit on the grid of the products they are added to. */
  readonly integerBias?: { readonly tolerance: number };
  /** QuantizeLinear and DequantizeLinear become integer arithmetic. */
  readonly pairs?: {
    /** Operators that run on integers between DequantizeLinear and QuantizeLinear. */
    readonly operators: readonly string[];
    readonly types: readonly DType[];
    /** Operators on moved data that convert between grids themselves. */
    readonly requantizes?: readonly string[];
  };
  /** An operator runs on integers only where its output is quantized to the type of its input. */
  readonly closedUnits?: { readonly activations: readonly DType[] };
  /** Forms that stay in float, or take the slow path, whatever stands around them. */
  readonly unfused?: { readonly bits: readonly number[]; readonly operators: readonly string[] };
  /** Block-quantized weights behind DequantizeLinear become MatMulNBits of this accuracy level. */
  readonly blockDequantize?: { readonly accuracyLevel: number };
  /** MatMulNBits with zero points in float has no kernel at these bits. */
  readonly floatZeroPoints?: { readonly notAt: readonly number[] };
  /** Q/DQ around products are kernels of their own, so 8 bits are slower than half precision. */
  readonly pairsCost?: readonly string[];
  readonly fusedShapes?: FusedShapeLimits;
  readonly attention?: AttentionLimits;
  readonly packedProducts?: PackedProductLimits;
  /** Quantization is symmetric: zero points are 0, types are those given, biases stay float. */
  readonly symmetric?: { readonly types: readonly DType[]; readonly operators: readonly string[] };
  /** Weights with a scale per block: where the blocked axis may lie, and fixed sizes. */
  readonly blockScales?: {
    readonly axesFromLast: number;
    readonly f4Block: number;
    readonly evenLast: readonly DType[];
  };
  /** What an importer of the standard operators refuses. */
  readonly importer?: {
    readonly attentionRank: number;
    readonly resize: ResizeLimits;
    /** Inputs that must be constants, by operator. */
    readonly constants: Readonly<Record<string, readonly number[]>>;
  };
  /** Conversions belong on the inputs of products; a model keeps to one family of 8-bit types. */
  readonly inputPairs?: { readonly operators: readonly string[] };
  /** Types that only matrix products take. */
  readonly productOnlyTypes?: readonly DType[];
  /** Kernels that read arguments on the host. */
  readonly hostArguments?: { readonly resize: ResizeLimits; readonly packed: PackedProductLimits };
  /** Shaders: storage buffers bound at once, and what they refuse. */
  readonly shaders?: {
    readonly splitOutputs: number;
    readonly resize: ResizeLimits;
  };
  readonly shaderProducts?: PackedProductLimits & { readonly headMultiple: number };
  /** Bytes of weights, and of one tensor, that a page can hold. */
  readonly page?: { readonly totalBytes: number; readonly tensorBytes: number };
  /** Arguments that must be constants when a graph is compiled ahead of its run. */
  readonly constantArguments?: {
    readonly constants: Readonly<Record<string, readonly number[]>>;
    readonly resize: ResizeLimits;
    readonly padModes: readonly string[];
    readonly noIntegerPool: boolean;
  };
  /** Ranks by operator, beside `shapes.maxRank`, and what the NPU's converter refuses. */
  readonly npu?: {
    readonly ranks: Readonly<Record<string, readonly [number, number]>>;
    readonly resize: ResizeLimits;
    /** Coordinates that do not go with a `nearest_mode`. */
    readonly nearestRefused: readonly (readonly [coordinates: string, nearest: string])[];
  };
  /** Axis of weight scales by operator, and weight types that take one scale only. */
  readonly weightAxes?: {
    readonly axes: Readonly<Record<string, number>>;
    readonly perTensorTypes: readonly DType[];
  };
  /** Types of the two factors of an integer product; 16-bit conversions below the opset are contributed ones. */
  readonly productTypes?: {
    readonly pairs: readonly (readonly [DType, DType])[];
    readonly wideFromOpset: number;
  };
  /** Scale and zero point that an activation's 16-bit output must have, by operator and type. */
  readonly fixedGrids?: Readonly<
    Record<string, readonly { readonly type: DType; readonly scale: number; readonly zero: number }[]>
  >;
  /** Norms and equations the NPU takes, and whether it computes floats at all. */
  readonly islands?: {
    readonly float: boolean;
    readonly lastAxisNorm: boolean;
    readonly productEquations: boolean;
  };
  /** Resize and dims of compilers that want every length known and above zero. */
  readonly lengths?: { readonly resize: ResizeLimits };
  /** Operators a number format does not have, and scales that are powers of two. */
  readonly column?: {
    readonly format: string;
    readonly absent: readonly string[];
    readonly powerOfTwo: boolean;
  };
  /** What an ML program takes besides its operators. */
  readonly program?: {
    readonly types: readonly DType[];
    readonly convDim: number;
    readonly resize: ResizeLimits;
  };
}
