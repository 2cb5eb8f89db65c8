import { addDim, ceilDivDim, divDim, mulDim, subDim } from "../dim.ts";
import type { Node } from "../graph.ts";
import type { Dim } from "../types.ts";
import type { InferContext } from "./spec.ts";

/** Sliding-window attributes of convolutions and pools, one entry per spatial axis. */
export interface Window {
  readonly kernel: readonly Dim[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begins, then ends. */
  readonly pads: readonly number[];
  readonly autoPad: string;
}

/** Reads the window attributes; reports and returns `null` when their lengths do not fit `axes` spatial axes. */
export function windowOf(ctx: InferContext, axes: number, kernel: readonly Dim[]): Window | null {
  const window: Window = {
    kernel,
    strides: ctx.ints_("strides") ?? new Array<number>(axes).fill(1),
    dilations: ctx.ints_("dilations") ?? new Array<number>(axes).fill(1),
    pads: ctx.ints_("pads") ?? new Array<number>(2 * axes).fill(0),
    autoPad: ctx.str("auto_pad", "NOTSET"),
  };
  const { strides, dilations, pads } = window;
  if (
    kernel.length !== axes ||
    strides.length !== axes ||
    dilations.length !== axes ||
    pads.length !== 2 * axes
  ) {
    ctx.invalid(
      `kernel, strides, dilations and pads have ${kernel.length}, ${strides.length}, ${dilations.length} and ` +
        `${pads.length} entries for ${axes} spatial axes`,
    );
    return null;
  }
  if (strides.some((s) => s < 1) || dilations.some((d) => d < 1)) {
    ctx.invalid("strides and dilations must be positive");
    return null;
  }
  return window;
}

/** Input positions one window spans on axis `i`: (k - 1) * dilation + 1. */
function windowSpan(w: Window, i: number): Dim {
  return addDim(mulDim(subDim(w.kernel[i]!, 1), w.dilations[i]!), 1);
}

/**
 * Output length of axis `i`: floor((d + pads - span) / stride) + 1, or with `ceil` rounding up, where a window that
 * would start in the end padding is dropped (MaxPool-22).
 */
export function windowLength(ctx: InferContext, w: Window, i: number, d: Dim, ceil = false): Dim {
  const stride = w.strides[i]!;
  if (w.autoPad === "SAME_UPPER" || w.autoPad === "SAME_LOWER") return ceilDivDim(d, stride);
  const padded = w.autoPad !== "VALID";
  const begin = padded ? w.pads[i]! : 0;
  const end = padded ? w.pads[i + w.kernel.length]! : 0;
  const span = windowSpan(w, i);
  const room = subDim(addDim(d, begin + end), span);
  if (typeof room === "number" && room < 0) {
    ctx.invalid(`a window of ${span} does not fit axis ${i + 2} of length ${d} with padding ${begin}+${end}`);
    return ctx.fresh();
  }
  if (!ceil) return addDim(divDim(room, stride), 1);
  const up = ceilDivDim(room, stride);
  if (typeof up === "number" && typeof d === "number") return up * stride >= d + begin ? up : up + 1;
  const reaches = typeof span !== "number" || end - span + stride - 1 >= 0;
  return reaches ? ctx.fresh() : addDim(up, 1);
}

/** Output length of a transposed convolution: stride*(d-1) + output_padding + span - pads. */
export function transposedLength(w: Window, i: number, d: Dim, outputPadding: number): Dim {
  const stride = w.strides[i]!;
  if (w.autoPad === "SAME_UPPER" || w.autoPad === "SAME_LOWER") return mulDim(d, stride);
  const pads = w.autoPad === "VALID" ? 0 : w.pads[i]! + w.pads[i + w.kernel.length]!;
  return addDim(addDim(mulDim(subDim(d, 1), stride), windowSpan(w, i)), outputPadding - pads);
}

/** An integer attribute of a node without an inference context; the fallback when it is absent or of another kind. */
export function plainInt(node: Node, name: string, fallback: number): number {
  const a = node.attrs.get(name);
  return a?.kind === "int" ? Number(a.value) : fallback;
}
