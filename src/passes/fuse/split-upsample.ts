import { numbersOf } from "../../ir/constants.ts";
import { intAttr, intsAttr, type Node, stringAttr } from "../../ir/graph.ts";
import { intOr, intsAt, stringOr } from "../../ir/pattern/constant.ts";
import { upsamplePhase } from "../../runtime/kernels/upsample-phase.ts";
import { definePass } from "../pass.ts";
import { type RewriteContext, type Rule, rewriteToFixedPoint } from "../rewrite.ts";

/** DepthToSpace in the order used here. */
const DEPTH_TO_SPACE_OPSET = 11;

const all = (values: readonly number[] | null, wanted: number): boolean =>
  values === null || values.every((v) => v === wanted);

/** Nearest ×2 of both spatial axes of an image, by scales. */
function doubles(c: RewriteContext, resize: Node): boolean {
  if (resize.domain !== "" || resize.op !== "Resize") return false;
  const scales = numbersOf(c.constant(resize, 2));
  if (scales === null || scales.join() !== "1,1,2,2") return false;
  return (
    stringOr(resize, "mode", "nearest") === "nearest" &&
    stringOr(resize, "coordinate_transformation_mode", "half_pixel") === "asymmetric" &&
    stringOr(resize, "nearest_mode", "round_prefer_floor") === "floor"
  );
}

/** A 3×3 convolution that keeps the size. */
function keepsSize(conv: Node): boolean {
  return (
    stringOr(conv, "auto_pad", "NOTSET") === "NOTSET" &&
    intOr(conv, "group", 1) === 1 &&
    all(intsAt(conv, "strides"), 1) &&
    all(intsAt(conv, "dilations"), 1) &&
    intsAt(conv, "pads")?.join() === "1,1,1,1"
  );
}

const upsampleToPhases: Rule = {
  name: "upsample-to-phases",
  ops: ["Conv"],
  apply(c, conv) {
    const resize = c.producer(conv, 0, "Resize");
    if (resize === undefined || c.opset < DEPTH_TO_SPACE_OPSET) return false;
    const weight = c.constant(conv, 1);
    if (weight === null || weight.dims.length !== 4 || weight.dims[2] !== 3 || weight.dims[3] !== 3)
      return false;
    if (!doubles(c, resize) || !keepsSize(conv) || c.onlyUser(resize) !== conv) return false;
    if (!c.claim(conv, resize)) return false;
    const x = resize.inputs[0]!;
    const phases = ([0, 1] as const).flatMap((row) =>
      ([0, 1] as const).map((column) => {
        const name = `${conv.name}/phase${row}${column}`;
        const w = c.patch.constant(upsamplePhase(weight, { row, column }), `${name}.weight`);
        const inputs = [x, w, ...(conv.inputs[2] === undefined ? [] : [conv.inputs[2]])];
        // An even phase sees the pixel before its own, an odd one the pixel behind.
        const pads = intsAttr([1 - row, 1 - column, row, column]);
        return c.patch.node({ op: "Conv", name, inputs, attrs: { kernel_shape: intsAttr([2, 2]), pads } })[0];
      }),
    );
    const stacked = c.patch.node({
      op: "Concat",
      name: `${conv.name}/phases`,
      inputs: phases,
      attrs: { axis: intAttr(1) },
    });
    const [out] = c.patch.node({
      op: "DepthToSpace",
      name: conv.name,
      inputs: stacked,
      attrs: { blocksize: intAttr(2), mode: stringAttr("DCR") },
    });
    c.bypass(conv, out);
    c.patch.remove(resize.id);
    return true;
  },
};

export const splitUpsample = definePass<Record<string, never>>({
  name: "split-upsample",
  family: "fuse",
  summary: "Convolves the small image in four phases instead of a doubled one",
  doc: `A 3×3 convolution behind nearest ×2 upsampling multiplies every pixel of the small image up to four times. Taps
that fall on the same pixel are added up beforehand: each of the four phases of the result (even and odd rows and columns)
is a 2×2 convolution of the small image, and DepthToSpace puts them together (the sub-pixel form of Shi et al.,
arXiv:1609.07009, here without retraining). 16 products per pixel instead of 36, for weights 16/9 as large: a recipe asks
for it where speed counts more than these bytes.

Left alone: other kernels, strides, dilations, groups and paddings, resizing that is not nearest with asymmetric
coordinates rounded down and constant scales, and an upsampled image that something else reads too.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(graph, [upsampleToPhases], ctx, "split-upsample");
  },
});
