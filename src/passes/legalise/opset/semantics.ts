import { type Attr, intAttr, stringAttr } from "../../../ir/graph.ts";
import { i64Tensor } from "../../../ir/tensor.ts";
import { outputUsed, type Step, takeInt, text } from "./step.ts";

/**
 * Softmax-13 normalises over one axis; before, the input was flattened at `axis` to a matrix. The same when the axis
 * is the last one; otherwise Flatten, Softmax, Reshape.
 */
export const softmax13: Step = (d, c) => {
  const axis = takeInt(d, "axis") ?? 1;
  const id = d.inputs[0] ?? null;
  if (id === null) return "it has no input";
  d.attrs.set("axis", intAttr(-1));
  const rank = c.shapes?.shape(id)?.length;
  if (axis === -1 || (rank !== undefined && axis === rank - 1)) return null;
  const tag = `${d.op}_${c.node.id}`;
  const [shape] = c.patch.node({ op: "Shape", name: `${tag}_shape`, inputs: [id] });
  const [flat] = c.patch.node({
    op: "Flatten",
    name: `${tag}_flat`,
    inputs: [id],
    attrs: { axis: intAttr(axis) },
  });
  const inner = c.patch.value(`${tag}_rows`);
  const old = d.outputs[0]!;
  d.inputs = [flat];
  d.outputs = [inner];
  const [out] = c.patch.node({ op: "Reshape", name: `${tag}_back`, inputs: [inner, shape] });
  c.patch.redirect(old, out);
  return null;
};

/** BatchNormalization-9 dropped `spatial`, whose other value normalised per position. */
export const batchNorm9: Step = (d) =>
  takeInt(d, "spatial") === 0 ? "spatial = 0 was removed in opset 9" : null;

/** BatchNormalization-14 has other training outputs; inference is unchanged. */
export const batchNorm14: Step = (_d, c) =>
  [1, 2, 3, 4].some((i) => outputUsed(c, i)) ? "its training outputs were redefined in opset 14" : null;

/** Dropout-10: the mask became bool. */
export const dropout10: Step = (d, c) => {
  if (outputUsed(c, 1)) return "the type of its mask changed in opset 10";
  d.outputs = d.outputs.slice(0, 1);
  return null;
};

/** Split-18: the number of parts is written when the sizes are not. */
export const split18: Step = (d) => {
  if ((d.inputs[1] ?? null) === null) d.attrs.set("num_outputs", intAttr(d.outputs.length));
  return null;
};

/** Scatter is deprecated in opset 11 in favour of ScatterElements. */
export const scatter11: Step = (d) => {
  d.op = "ScatterElements";
  return null;
};

/** GridSample-20 renamed two modes. */
export const gridSample20: Step = (d) => {
  const mode = text(d, "mode") ?? "bilinear";
  const renamed: Readonly<Record<string, string>> = { bilinear: "linear", bicubic: "cubic" };
  d.attrs.set("mode", stringAttr(renamed[mode] ?? mode));
  return null;
};

/** RoiAlign-16 made half-pixel the default. */
export const roiAlign16: Step = (d) => {
  d.attrs.set("coordinate_transformation_mode", stringAttr("output_half_pixel"));
  return null;
};

/** AveragePool-19 corrected the divisor of windows that hang over the end. */
export const averagePool19: Step = (d) => {
  const one = (a: Attr | undefined): boolean => a?.kind === "int" && Number(a.value) === 1;
  return one(d.attrs.get("ceil_mode")) && one(d.attrs.get("count_include_pad"))
    ? "ceil_mode with count_include_pad was redefined in opset 19"
    : null;
};

/** Attention-24 reordered the modes of its fourth output. */
export const attention24: Step = (_d, c) =>
  outputUsed(c, 3) ? "the modes of its fourth output were redefined in opset 24" : null;

/** Scan-9 dropped the batch axis. */
export const scan9: Step = () => "Scan of opset 8 has a batch axis that later ones lack";

/** GroupNormalization-21: scale and bias per channel instead of per group. */
export const groupNorm21: Step = (d, c) => {
  const groups = d.attrs.get("num_groups");
  const id = d.inputs[0] ?? null;
  const channels = id === null ? undefined : c.shapes?.shape(id)?.[1];
  if (groups?.kind !== "int" || typeof channels !== "number")
    return "its number of channels is unknown, so per-group parameters cannot be repeated";
  const g = Number(groups.value);
  const tag = `${d.op}_${c.node.id}`;
  const column = c.patch.constant(i64Tensor([g, 1]), `${tag}_column`);
  const full = c.patch.constant(i64Tensor([g, channels / g]), `${tag}_full`);
  const flat = c.patch.constant(i64Tensor([channels]), `${tag}_flat`);
  for (const i of [1, 2]) {
    const from = d.inputs[i] ?? null;
    if (from === null) return "it has no scale or bias";
    const [a] = c.patch.node({ op: "Reshape", name: `${tag}_column_${i}`, inputs: [from, column] });
    const [b] = c.patch.node({ op: "Expand", name: `${tag}_full_${i}`, inputs: [a, full] });
    d.inputs[i] = c.patch.node({ op: "Reshape", name: `${tag}_flat_${i}`, inputs: [b, flat] })[0];
  }
  return null;
};
