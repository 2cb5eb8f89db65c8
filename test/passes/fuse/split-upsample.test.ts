import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { splitUpsample } from "../../../src/passes/fuse/split-upsample.ts";
import { apply, difference, floats, ops, wave } from "../harness.ts";

/** Float rounding of sums of 27 products of order 1. */
const ROUNDING = 5e-6;

interface Shape {
  readonly mode?: string;
  readonly rounding?: string;
  readonly scales?: readonly number[];
  readonly kernel?: 1 | 3 | 5;
  readonly strides?: readonly [number, number];
  readonly pads?: readonly number[];
  readonly group?: number;
  readonly bias?: boolean;
  readonly shared?: boolean;
}

function model(o: Shape = {}): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", ["b", 4, "h", "w"]);
  const scales = b.constant(f32Tensor(o.scales ?? [1, 1, 2, 2]));
  const up = b.node("Resize", [x, null, scales], {
    mode: o.mode ?? "nearest",
    coordinate_transformation_mode: "asymmetric",
    nearest_mode: o.rounding ?? "floor",
  });
  const k = o.kernel ?? 3;
  const group = o.group ?? 1;
  const dims = [6, 4 / group, k, k];
  const w = b.constant(f32Tensor(floats(wave(dims, 1)), dims));
  const bias = o.bias === false ? [] : [b.constant(f32Tensor(floats(wave([6], 2))))];
  const side = (k - 1) / 2;
  const y = b.node("Conv", [up, w, ...bias], {
    pads: o.pads ?? [side, side, side, side],
    strides: o.strides ?? [1, 1],
    group,
  });
  b.output(y, "y");
  if (o.shared === true) b.output(b.node("Neg", [up]), "z");
  return b.build();
}

describe("a convolution of a doubled image", () => {
  it.each([
    ["with a bias", {}],
    ["without one", { bias: false }],
  ] as const)("becomes four of the small one, equal at every border, %s", async (_name, shape) => {
    for (const [h, w] of [
      [1, 1],
      [2, 3],
      [5, 4],
    ] as const) {
      const after = model(shape);
      await apply(after, [splitUpsample as never]);
      expect(ops(after)).toEqual(["Conv", "Conv", "Conv", "Conv", "Concat", "DepthToSpace"]);
      expect(await difference(model(shape), after, { x: wave([2, 4, h, w]) })).toBeLessThan(ROUNDING);
    }
  });

  it.each([
    ["linear interpolation", { mode: "linear" }],
    ["pixels rounded up", { rounding: "ceil" }],
    ["other scales", { scales: [1, 1, 3, 3] }],
    ["1×1 kernels", { kernel: 1 }],
    ["5×5 kernels", { kernel: 5 }],
    ["strides", { strides: [2, 2] }],
    ["other padding", { pads: [0, 0, 0, 0] }],
    ["groups", { group: 2 }],
    ["an image that something else reads", { shared: true }],
  ] as const)("is left alone with %s", async (_name, shape) => {
    const after = model(shape);
    const before = ops(after);
    await apply(after, [splitUpsample as never]);
    expect(ops(after)).toEqual(before);
  });
});
