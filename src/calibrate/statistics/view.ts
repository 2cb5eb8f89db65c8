import type { Unfold } from "./types.ts";

/**
 * A tensor seen as `before × channels × after`, row major: positions are pairs of a place before and one after the
 * channel axis. Without a channel axis everything lies after.
 */
export interface View {
  readonly before: number;
  readonly channels: number;
  readonly after: number;
}

const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** The view of a tensor along its channel axis, `null` for none. The axis may count from the end. */
export function viewOf(dims: readonly number[], axis: number | null): View {
  if (axis === null) return { before: 1, channels: 1, after: product(dims) };
  const at = axis < 0 ? axis + dims.length : axis;
  const channels = dims[at];
  if (channels === undefined) throw new Error(`a tensor of rank ${dims.length} has no axis ${axis}`);
  return { before: product(dims.slice(0, at)), channels, after: product(dims.slice(at + 1)) };
}

/** Sizes of a convolution's sliding window over an input `[batch, channels, height, width]`. */
export interface Window {
  readonly batch: number;
  readonly channels: number;
  /** Of the padded input. */
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly taps: number;
}

/** Geometry of the patches a convolution sees (ONNX Conv, floor mode). */
export function windowOf(dims: readonly number[], unfold: Unfold): Window {
  const [batch, channels, h, w] = dims;
  if (dims.length !== 4) throw new Error(`only images are unfolded, the value has rank ${dims.length}`);
  const [top, left, bottom, right] = unfold.pads;
  const height = h! + top + bottom;
  const width = w! + left + right;
  const out = (size: number, axis: 0 | 1): number =>
    Math.floor((size - unfold.dilations[axis] * (unfold.kernel[axis] - 1) - 1) / unfold.strides[axis]) + 1;
  return {
    batch: batch!,
    channels: channels!,
    height,
    width,
    outHeight: out(height, 0),
    outWidth: out(width, 1),
    taps: unfold.kernel[0] * unfold.kernel[1],
  };
}

/** Flat index into the padded plane for every tap of the patches at the given output positions, tap fastest. */
export function tapIndices(window: Window, unfold: Unfold, positions: ArrayLike<number>): number[] {
  const out: number[] = [];
  const [kh, kw] = unfold.kernel;
  for (let p = 0; p < positions.length; p++) {
    const y = Math.floor(positions[p]! / window.outWidth) * unfold.strides[0];
    const x = (positions[p]! % window.outWidth) * unfold.strides[1];
    for (let i = 0; i < kh; i++)
      for (let j = 0; j < kw; j++)
        out.push((y + i * unfold.dilations[0]) * window.width + x + j * unfold.dilations[1]);
  }
  return out;
}
