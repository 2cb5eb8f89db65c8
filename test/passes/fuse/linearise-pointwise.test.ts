import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { intsAttr, type Model } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { simplify } from "../../../src/passes/clean/simplify.ts";
import { linearisePointwise } from "../../../src/passes/fuse/linearise-pointwise.ts";
import { apply, difference, floats, ops, wave } from "../harness.ts";

/** Float rounding of sums of six products of order 1, twice. */
const ROUNDING = 4e-6;

interface Shape {
  readonly strides?: readonly [number, number];
  readonly kernel?: 1 | 3;
  readonly bias?: boolean;
  readonly shared?: boolean;
  /** Channels after the way back. */
  readonly back?: number;
}

/** Image to tokens and back as exporters write it: heights and widths computed from the image. */
function model(o: Shape = {}): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", ["b", 6, "h", "w"]);
  const conv = (input: typeof x, dims: readonly number[], phase: number) => {
    const side = ((dims[2] ?? 1) - 1) / 2;
    const bias = o.bias === false ? [] : [b.constant(f32Tensor(floats(wave([dims[0]!], phase + 1))))];
    return b.node("Conv", [input, b.constant(f32Tensor(floats(wave(dims, phase)), dims)), ...bias], {
      strides: o.strides ?? [1, 1],
      pads: [side, side, side, side],
    });
  };
  const k = o.kernel ?? 1;
  const inner = conv(x, [6, 6, k, k], 1);
  const pick = (axis: number) => b.node("Gather", [b.node("Shape", [x]), b.constant(i64Tensor([axis]))]);
  const [n, h, w] = [pick(0), pick(2), pick(3)];
  const six = b.constant(i64Tensor([6]));
  const flat = b.node("Concat", [n, b.node("Mul", [h, w]), six], { axis: 0 });
  const tokens = b.node("Reshape", [b.node("Transpose", [inner], { perm: intsAttr([0, 2, 3, 1]) }), flat]);
  const work = b.node("Softmax", [tokens], { axis: -1 });
  const image = b.node("Reshape", [work, b.node("Concat", [n, h, w, six], { axis: 0 })]);
  const first = b.node("Transpose", [image], { perm: intsAttr([0, 3, 1, 2]) });
  const y = conv(first, [o.back ?? 6, 6, k, k], 3);
  b.output(o.back === undefined && o.strides === undefined ? b.node("Add", [y, inner]) : y, "y");
  if (o.shared === true) b.output(b.node("Neg", [first]), "z");
  return b.build();
}

const passes = [[linearisePointwise], [simplify], [removeDead]] as never as Parameters<typeof apply>[1][];

describe("1×1 convolutions at the border of image and tokens", () => {
  it.each([
    ["with a bias", {}],
    ["without one", { bias: false }],
  ] as const)("leave the image on both sides, %s", async (_name, shape) => {
    const after = model(shape);
    await apply(after, ...passes);
    const all = ops(after);
    // The projection in is read by the residual too: it stays a convolution.
    expect(all.filter((o) => o === "Conv")).toHaveLength(1);
    expect(all.filter((o) => o === "MatMul")).toHaveLength(1);
    // All that is left of the arithmetic on shapes is that of the image.
    expect(all.filter((o) => ["Gather", "Concat", "Mul"].includes(o))).toEqual([]);
    for (const [h, w] of [
      [1, 1],
      [3, 2],
    ] as const)
      expect(await difference(model(shape), after, { x: wave([2, 6, h, w]) })).toBeLessThan(ROUNDING);
  });

  it("turns the projection in when only tokens read it", async () => {
    const after = model({ back: 5 });
    await apply(after, ...passes);
    // The way back changes the number of channels: that one stays.
    expect(ops(after).filter((o) => o === "MatMul")).toHaveLength(1);
    expect(ops(after).filter((o) => o === "Conv")).toHaveLength(1);
    expect(await difference(model({ back: 5 }), after, { x: wave([2, 6, 3, 2]) })).toBeLessThan(ROUNDING);
  });

  it.each([
    ["a 3×3 kernel", { kernel: 3 }],
    ["an image that is read before the projection", { shared: true }],
  ] as const)("leaves %s alone", async (_name, shape) => {
    const after = model(shape);
    await apply(after, ...passes);
    expect(ops(after)).not.toContain("MatMul");
    expect(await difference(model(shape), after, { x: wave([2, 6, 4, 6]) })).toBeLessThan(ROUNDING);
  });
});
