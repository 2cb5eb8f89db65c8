import { intAttr, intsAttr, type Node, type ValueId } from "../../../ir/graph.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import { i64Tensor } from "../../../ir/tensor.ts";
import { fromChannels, quantizeActivation } from "../../../targets/lower/integer.ts";
import { restOf } from "./first-token.ts";
import type { Interleave } from "./interleave.ts";
import type { SitePlan } from "./plan.ts";
import type { StaticLayer } from "./sites.ts";
import type { Writing } from "./write.ts";

// What onnxruntime makes of Transposes around QuantizeLinear and DequantizeLinear when it loads a model: it moves them
// through per-channel conversions, which then run along the last axis ten times as slowly, and leaves a conversion there
// and back where it split a pair. A Reshape in between, which costs nothing, holds them apart.

/** Transpose. */
export function moved(patch: PatchBuilder, x: ValueId, perm: readonly number[], name: string): ValueId {
  return patch.node({ op: "Transpose", name, inputs: [x], attrs: { perm: intsAttr([...perm]) } })[0];
}

function reshaped(patch: PatchBuilder, x: ValueId, to: readonly number[] | ValueId, name: string): ValueId {
  const shape = typeof to === "object" ? patch.constant(i64Tensor([...to]), "d") : to;
  return patch.node({ op: "Reshape", name, inputs: [x, shape] })[0];
}

function concat(patch: PatchBuilder, inputs: readonly ValueId[], axis: number, name: string): ValueId {
  return patch.node({ op: "Concat", name, inputs: [...inputs], attrs: { axis: intAttr(axis) } })[0];
}

/**
 * Quantizes the activation of a site. One that is only transposed for its layers is quantized before: integers move at a
 * quarter of the cost.
 */
export function quantizeBefore(
  w: Writing,
  { site }: SitePlan,
  o: { readonly scale: ValueId; readonly zero: ValueId },
): ValueId {
  const { graph, patch } = w;
  const named = { ...o, name: `q${site.value}` };
  const from = graph.producer(site.value);
  const readers = graph.users(site.value);
  const turned =
    site.kind === "matmul" &&
    from?.op === "Transpose" &&
    from.domain === "" &&
    from.attrs.has("perm") &&
    !graph.isOutput(site.value) &&
    readers.every((id) => site.layers.some((l) => l.node.id === id));
  const own = site.rest ? restOf(patch, site.value) : site.value;
  if (site.rest || !turned) return quantizeActivation(patch, own, { ...named, axis: site.axis });
  const before = quantizeActivation(patch, from.inputs[0]!, { ...named, axis: 1 });
  patch.remove(from.id);
  return patch.node({
    op: "Transpose",
    name: from.name,
    inputs: [before],
    attrs: { perm: from.attrs.get("perm")! },
  })[0];
}

/**
 * Whether the one reader of a convolution's result keeps the runtime's rewrites away by itself: a Reshape, or an Add of
 * something smaller than an image. Others let it move a Transpose through, copy the conversion for each reader, or fuse
 * conversion, operator and conversion into a kernel that refuses scales per channel when it runs.
 */
export function standsAlone({ graph, shapes }: Writing, layer: StaticLayer): boolean {
  const readers: Node[] = graph.users(layer.output).map((id) => graph.node(id));
  const [reader] = readers;
  if (readers.length !== 1 || reader === undefined || graph.isOutput(layer.output) || reader.domain !== "")
    return false;
  if (reader.op === "Reshape") return true;
  const own = shapes.shape(layer.output)?.join();
  return reader.op === "Add" && reader.inputs.some((v) => shapes.shape(v!)?.join() !== own);
}

/** {@link fromChannels} on an image whose rows are laid out in one axis meanwhile. */
export function flatFromChannels(
  { patch }: Writing,
  q: ValueId,
  back: Parameters<typeof fromChannels>[2],
): ValueId {
  const [shape] = patch.node({ op: "Shape", name: `${back.name}/shape`, inputs: [q] });
  const flat = reshaped(patch, q, [0, 0, -1], `${back.name}/flat`);
  return reshaped(patch, fromChannels(patch, flat, back), shape, `${back.name}/image`);
}

/**
 * Four channels-last phases as one image `[N, C, 4HW]`, and the shape `[N, C, 2H, 2W]` it has in truth. Every copy moves
 * whole pixels or whole rows, where DepthToSpace moves numbers.
 */
export function interleaved(
  { patch, shapes }: Writing,
  phases: readonly [ValueId, ValueId, ValueId, ValueId],
  { depthToSpace, layers }: Interleave,
  small: ValueId,
): { flat: ValueId; shape: ValueId } {
  const { name } = depthToSpace;
  const channels = layers[0].outputs;
  const rows = [phases.slice(0, 2), phases.slice(2)].map((pair, i) =>
    reshaped(patch, concat(patch, pair, 3, `${name}/row${i}`), [0, 0, 1, -1], `${name}/row${i}/flat`),
  );
  const pixels = reshaped(patch, concat(patch, rows, 2, `${name}/rows`), [0, -1, channels], `${name}/pixels`);
  const flat = moved(patch, pixels, [0, 2, 1], `${name}/first`);
  const dims = shapes.shape(depthToSpace.outputs[0]!);
  if (dims?.slice(2).every((d): d is number => typeof d === "number" && d > 0)) {
    return { flat, shape: patch.constant(i64Tensor([0, channels, ...(dims.slice(2) as number[])]), "d") };
  }
  const of = patch.node({ op: "Shape", name: `${name}/shape`, inputs: [small] })[0];
  const scale = patch.constant(i64Tensor([1, 0, 2, 2]), "d");
  const offset = patch.constant(i64Tensor([0, channels, 0, 0]), "d");
  const doubled = patch.node({ op: "Mul", name: `${name}/doubled`, inputs: [of, scale] })[0];
  return { flat, shape: patch.node({ op: "Add", name: `${name}/dims`, inputs: [doubled, offset] })[0] };
}
