import { intAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { inlineTensor, type Tensor } from "../../ir/tensor.ts";

/** An activation on its 8-bit grid. */
export interface QuantizedActivation {
  readonly value: ValueId;
  /** Scale the layer is told: float32 vector of length 1. */
  readonly scale: ValueId;
  /** Zero point, a scalar. */
  readonly zero: ValueId;
}

/** uint8 constant; a scalar unless `dims` says otherwise. */
export function u8Constant(patch: PatchBuilder, values: ArrayLike<number>, vector: boolean): ValueId {
  const bytes = Uint8Array.from(values);
  return patch.constant(inlineTensor("u8", vector ? [bytes.length] : [], bytes), "z");
}

function i8Zeros(patch: PatchBuilder, count: number): ValueId {
  return patch.constant(inlineTensor("i8", [count], new Uint8Array(count)), "z");
}

/** QuantizeLinear with scales as long as an axis, or of length 1. */
export function quantizeActivation(
  patch: PatchBuilder,
  x: ValueId,
  o: { readonly scale: ValueId; readonly zero: ValueId; readonly axis: number; readonly name: string },
): ValueId {
  return patch.node({
    op: "QuantizeLinear",
    name: o.name,
    inputs: [x, o.scale, o.zero],
    attrs: { axis: intAttr(o.axis) },
  })[0];
}

/** What QLinearConv is told. */
export interface IntegerConv {
  readonly input: QuantizedActivation;
  readonly weight: Tensor;
  /** Weight scale over output scale, float32 [N]. */
  readonly weightScale: Tensor;
  /** int32 [N]. */
  readonly bias: ValueId;
  /** Output factor the kernel divides by, float32 [1], and its zero point. */
  readonly outputFactor: ValueId;
  readonly outputZero: ValueId;
  readonly name: string;
}

/**
 * A convolution in 8 bits with an 8-bit result. The kernel's multiplier per channel is x_scale · w_scale / y_scale;
 * writing the weight's scale as w / y lets every output channel have a grid of its own at no cost ({@link fromChannels}
 * takes vectors along an axis), and writing the activation's channel scales into the weight does the same for the input.
 * Attributes are the convolution's own. With `channelsLast`, images have their channels last (`com.microsoft`).
 */
export function integerConv(
  patch: PatchBuilder,
  node: Node,
  o: IntegerConv & { readonly channelsLast?: boolean },
): ValueId {
  return patch.node({
    op: "QLinearConv",
    domain: o.channelsLast === true ? "com.microsoft" : "",
    name: node.name,
    inputs: [
      o.input.value,
      o.input.scale,
      o.input.zero,
      patch.constant(o.weight, `${o.name}.q`),
      patch.constant(o.weightScale, `${o.name}.s`),
      i8Zeros(patch, o.weight.dims[0]!),
      o.outputFactor,
      o.outputZero,
      o.bias,
    ],
    attrs: {
      ...Object.fromEntries(node.attrs),
      ...(o.channelsLast === true ? { channels_last: intAttr(1) } : {}),
    },
  })[0];
}

/** Float again, with a scale and zero point per channel (axis 1). */
export function fromChannels(
  patch: PatchBuilder,
  q: ValueId,
  o: { readonly scale: ValueId; readonly zeros: ValueId; readonly name: string },
): ValueId {
  return patch.node({
    op: "DequantizeLinear",
    name: `${o.name}/dq`,
    inputs: [q, o.scale, o.zeros],
    attrs: { axis: intAttr(1) },
  })[0];
}

/** What 8-bit matrix products share. */
interface IntegerProduct {
  /** float32 [N]. */
  readonly weightScale: Tensor;
  /** float32 [N] or `null`. */
  readonly bias: Tensor | null;
  /** Name of the node, and the base of its constants' names. */
  readonly node: string;
  readonly name: string;
}

/** A matrix product in 8 bits with a float result: `com.microsoft.MatMulIntegerToFloat`, bias included. */
export function integerMatMul(
  patch: PatchBuilder,
  o: IntegerProduct & { readonly input: QuantizedActivation; readonly weight: Tensor },
): ValueId {
  return patch.node({
    op: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    name: o.node,
    inputs: [
      o.input.value,
      patch.constant(o.weight, `${o.name}.q`),
      o.input.scale,
      patch.constant(o.weightScale, `${o.name}.s`),
      o.input.zero,
      null,
      o.bias === null ? null : patch.constant(o.bias, `${o.name}.b`),
    ],
  })[0];
}

/** A matrix product in 8 bits that finds the range of its input itself: `com.microsoft.DynamicQuantizeMatMul`. */
export function dynamicMatMul(
  patch: PatchBuilder,
  o: IntegerProduct & {
    /** float32 [..., K]. */
    readonly input: ValueId;
    /** int8 [K, N], zero point 0. */
    readonly weight: Tensor;
  },
): ValueId {
  return patch.node({
    op: "DynamicQuantizeMatMul",
    domain: "com.microsoft",
    name: o.node,
    inputs: [
      o.input,
      patch.constant(o.weight, `${o.name}.q`),
      patch.constant(o.weightScale, `${o.name}.s`),
      ...(o.bias === null ? [] : [null, patch.constant(o.bias, `${o.name}.b`)]),
    ],
  })[0];
}
