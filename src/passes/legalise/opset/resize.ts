import { numbersOf } from "../../../ir/constants.ts";
import { elementCount } from "../../../ir/dtype.ts";
import { stringAttr, type ValueId } from "../../../ir/graph.ts";
import { f32Tensor } from "../../../ir/tensor.ts";
import { type Draft, type Step, type StepContext, setInput, take, text } from "./step.ts";

/** Upsample-9: scales are an input. */
export const upsample9: Step = (d, c) => {
  const scales = take(d, "scales");
  if (scales?.kind !== "floats") return "it has no scales";
  setInput(d, c, 1, f32Tensor(scales.value), "scales");
  return null;
};

/** Upsample is deprecated in opset 10 in favour of Resize with the same inputs. */
export const upsample10: Step = (d) => {
  d.op = "Resize";
  return null;
};

/** Scales of the draft, which an earlier step of the same node may have made. */
function scalesOf(d: Draft, c: StepContext): readonly number[] | null {
  const id = d.inputs[1];
  if (id === null || id === undefined) return null;
  const own = c.patch.build().values.find((v) => v.id === id)?.init ?? null;
  return numbersOf(own ?? c.graph.constant(id));
}

/**
 * Resize-11 names the coordinate transformation that Resize-10 left open: the runtimes of that time computed
 * `x_out / scale`. How `nearest` rounded when shrinking by a fraction differed between them, so that is refused.
 */
export const resize11: Step = (d, c) => {
  const nearest = (text(d, "mode") ?? "nearest") === "nearest";
  const scales = scalesOf(d, c);
  if (nearest) {
    if (scales === null) return "its scales are not constant, so the rounding of opset 10 is unknown";
    const whole = (s: number): boolean => s >= 1 || Number.isInteger(1 / s);
    if (!scales.every(whole)) return "opset 10 does not define how nearest shrinks by a fraction";
    d.attrs.set("nearest_mode", stringAttr("floor"));
  }
  d.attrs.set("coordinate_transformation_mode", stringAttr("asymmetric"));
  const at = d.inputs[1] ?? null;
  setInput(d, c, 1, f32Tensor([]), "roi");
  d.inputs[2] = at;
  return null;
};

function isEmpty(c: StepContext, id: ValueId | null | undefined): boolean {
  if (id === null || id === undefined) return true;
  const own = c.patch.build().values.find((v) => v.id === id)?.init ?? null;
  const t = own ?? c.graph.constant(id);
  return t !== null && elementCount(t.dims) === 0;
}

/** Resize-13: roi and scales are optional, and one of scales and sizes is given. */
export const resize13: Step = (d, c) => {
  if (text(d, "coordinate_transformation_mode") === "tf_half_pixel_for_nn")
    return "tf_half_pixel_for_nn was removed in opset 13";
  if (isEmpty(c, d.inputs[1])) d.inputs[1] = null;
  if (isEmpty(c, d.inputs[2]) || (d.inputs[3] ?? null) !== null) d.inputs[2] = null;
  return null;
};
