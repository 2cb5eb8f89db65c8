import { cloneModel } from "../../ir/clone.ts";
import { DTYPES, isFloat } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import { Graph, type IdSource, intAttr, type Model, type Value, type ValueId } from "../../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../ir/infer.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { tensorType, type ValueType } from "../../ir/types.ts";
import { denseFrom } from "../dense.ts";
import { type Emitter, emitter } from "./emit.ts";
import { type Draw, drawPlaces } from "./positions.ts";
import { type PositionsProbe, type Probe, positionsShape, probeLength } from "./probes.ts";
import type { Unfold } from "./types.ts";
import { tapIndices, viewOf, type Window, windowOf } from "./view.ts";

/** One probe as a run answers it. */
export interface Slot {
  readonly probe: Probe;
  /** Dims of the probed value; `[-1]` where they are not known. */
  readonly dims: readonly number[];
  /** Where its numbers begin in the output, and how many they are. */
  readonly offset: number;
  readonly length: number;
}

/** A model that returns what probes ask of its values in one vector, and nothing else. */
export interface Observed {
  readonly model: Model;
  /** Name of the float32 vector. */
  readonly output: string;
  /** In the order of the probes; probes of values that do not exist as floats of known shape are left out. */
  readonly slots: readonly Slot[];
  /** Feeds besides the model's own: the places positions are gathered at. */
  indices(draw: Draw): Map<string, Dense>;
}

/** An index input and how its content is drawn. */
interface Index {
  readonly name: string;
  readonly id: ValueId;
  readonly extent: number;
  readonly count: number;
  readonly window: { readonly window: Window; readonly unfold: Unfold } | null;
}

/** Types of all values when the model is fed with these arrays. */
export function fedShapes(model: Model, feeds: ReadonlyMap<string, Dense>): InferredShapes {
  const { graph } = model;
  const inputTypes = new Map<ValueId, ValueType>();
  for (const id of graph.inputs) {
    const feed = feeds.get(graph.value(id).name);
    if (feed !== undefined) inputTypes.set(id, tensorType(feed.dtype, feed.dims));
  }
  return inferShapes(model, { inputTypes });
}

/**
 * Float values of the main graph that are fed or computed and not known to be empty, by name, in topological order. Not
 * constants, and not values inside subgraphs, which exist once per iteration or not at all.
 */
export function computedFloats(model: Model, shapes: InferredShapes): Map<string, ValueId> {
  const { graph } = model;
  const found = new Map<string, ValueId>();
  const consider = (id: ValueId | null): void => {
    if (id === null) return;
    const dtype = shapes.dtype(id);
    if (dtype === null || !isFloat(dtype) || DTYPES[dtype].kind === "float8") return;
    if (shapes.staticShape(id)?.includes(0) !== true) found.set(graph.value(id).name, id);
  };
  for (const id of graph.inputs) if (graph.value(id).init === null) consider(id);
  for (const node of graph.nodes()) for (const id of node.outputs) consider(id);
  return found;
}

/** Collects the index inputs probes need; probes of one geometry share one. */
function indexInputs(ids: IdSource) {
  const known = new Map<string, Index>();
  const of = (extent: number, count: number, window: Index["window"]): Index => {
    const key = window === null ? `${extent}:${count}` : `${JSON.stringify(window)}:${count}`;
    let index = known.get(key);
    if (index === undefined) {
      index = { name: `observe_places_${known.size}`, id: ids.value(), extent, count, window };
      known.set(key, index);
    }
    return index;
  };
  const values = (): Value[] =>
    [...known.values()].map(({ id, name, count, window }) => ({
      id,
      name,
      type: tensorType("i64", [count * (window?.window.taps ?? 1)]),
      producer: null,
      init: null,
    }));
  const draw = (d: Draw): Map<string, Dense> =>
    new Map(
      [...known.values()].map(({ name, extent, count, window }) => {
        const places =
          count === extent ? Array.from({ length: extent }, (_, i) => i) : drawPlaces(d, extent, count);
        const flat = window === null ? places : tapIndices(window.window, window.unfold, places);
        return [name, denseFrom("i64", [flat.length], flat)];
      }),
    );
  return { of, values, draw };
}

/** Index inputs of one positions probe. */
interface Places {
  readonly before: Index | null;
  readonly after: Index | null;
}

function placesOf(
  probe: PositionsProbe,
  dims: readonly number[],
  inputs: ReturnType<typeof indexInputs>,
): Places {
  const { spread } = positionsShape(probe, dims);
  if (probe.unfold !== null) {
    const window = windowOf(dims, probe.unfold);
    const extent = window.outHeight * window.outWidth;
    return {
      before: spread.before === null ? null : inputs.of(window.batch, spread.before, null),
      // Every tap is gathered from the padded plane, so an index is needed even where no position is left out.
      after: inputs.of(extent, spread.after ?? extent, { window, unfold: probe.unfold }),
    };
  }
  const view = viewOf(dims, probe.axis);
  return {
    before: spread.before === null ? null : inputs.of(view.before, spread.before, null),
    after: spread.after === null ? null : inputs.of(view.after, spread.after, null),
  };
}

/** Rows `[positions, size]` of a value; with unfolding, patches in the order of a flattened convolution weight. */
function emitRows(
  e: Emitter,
  source: ValueId,
  probe: PositionsProbe,
  dims: readonly number[],
  places: Places,
): ValueId {
  const { rows, size } = positionsShape(probe, dims);
  const window = probe.unfold === null ? null : windowOf(dims, probe.unfold);
  const { before, channels, after } =
    window === null
      ? viewOf(dims, probe.axis)
      : { before: window.batch, channels: window.channels, after: window.height * window.width };
  let x = source;
  if (window === null && after === 1) {
    x = e.reshape(x, [before, channels]);
    return places.before === null ? x : e.gather(x, places.before.id, 0);
  }
  // Gathering whole samples first keeps the padding and the rest small.
  if (window === null) x = e.reshape(x, [before, channels, after]);
  if (places.before !== null) x = e.gather(x, places.before.id, 0);
  const kept = places.before?.count ?? before;
  if (window !== null) {
    if (probe.unfold!.pads.some((p) => p > 0)) x = e.pad(x, probe.unfold!.pads);
    x = e.reshape(x, [kept, channels, after]);
  }
  if (places.after !== null) x = e.gather(x, places.after.id, 2);
  const taps = window?.taps ?? 1;
  const each = places.after?.count ?? after;
  if (taps === 1) return e.reshape(e.transpose(x, [0, 2, 1]), [rows, size]);
  return e.reshape(e.transpose(e.reshape(x, [kept, channels, each, taps]), [0, 2, 1, 3]), [rows, size]);
}

/** Flat vectors of what one probe answers, in order. */
function emitProbe(
  e: Emitter,
  source: ValueId,
  probe: Probe,
  dims: readonly number[],
  places: Places | null,
): ValueId[] {
  if (probe.kind === "positions") {
    const { rows, size, reduced } = positionsShape(probe, dims);
    const x = emitRows(e, source, probe, dims, places!);
    if (!reduced) return [e.reshape(x, [rows * size])];
    const gram = e.gram(x);
    return [e.reshape(gram, [size * size]), e.reduce("ReduceMean", x, [0])];
  }
  const { before, channels, after } = viewOf(dims, probe.axis);
  // The runtime's reductions are fast over whole arrays, over the first axis of a matrix and around a middle axis.
  const whole = channels === 1;
  const x = e.reshape(
    source,
    whole ? [before * after] : after === 1 ? [before, channels] : [before, channels, after],
  );
  const axes = whole || after === 1 ? [0] : [0, 2];
  const flat = (v: ValueId): ValueId => (whole ? e.reshape(v, [1]) : v);
  const square = probe.square ? [flat(e.reduce("ReduceMean", e.square(x), axes))] : [];
  return [
    ...(["ReduceMin", "ReduceMax", "ReduceMean"] as const).map((op) => flat(e.reduce(op, x, axes))),
    ...square,
  ];
}

/**
 * A copy of a model that answers probes. `feeds` give the shapes it will be run with. The original is not touched;
 * weights are shared, never loaded. What no probe needs is cut off by the runtime, because the answers are the only
 * output.
 */
export function observe(model: Model, probes: readonly Probe[], feeds: ReadonlyMap<string, Dense>): Observed {
  const shapes = fedShapes(model, feeds);
  const floats = computedFloats(model, shapes);
  const order = new Map([...floats.keys()].map((name, i) => [name, i]));
  // Extremes of a whole tensor need no shape; everything else does.
  const asked = probes.filter((p) => {
    const id = floats.get(p.value);
    if (id === undefined) return false;
    return shapes.staticShape(id) !== null || (p.kind === "moments" && p.axis === null);
  });
  if (asked.length === 0) throw new Error("no probe asks for a value the model computes");
  const copy = cloneModel(model);
  const inputs = indexInputs(copy.graph.ids);
  const dimsOf = (p: Probe): readonly number[] => shapes.staticShape(floats.get(p.value)!) ?? [-1];
  const places = new Map(
    asked.map((p) => [p, p.kind === "positions" ? placesOf(p, dimsOf(p), inputs) : null]),
  );
  const extra = inputs.values();
  copy.graph = rebuilt(copy.graph, {
    values: [...copy.graph.values(), ...extra],
    inputs: [...copy.graph.inputs, ...extra.map((v) => v.id)],
  });
  const patch = new PatchBuilder(copy.graph, "observe");
  const e = emitter(patch, copy.opsets.get("") ?? 1);
  // onnxruntime runs the inputs of a node latest-listed first. Listing the observers of late values first makes it
  // observe each value as soon as it is there; the other way round every activation stays alive to the end of the run.
  const sorted = [...asked].sort((a, b) => order.get(b.value)! - order.get(a.value)!);
  const parts = new Map<Probe, ValueId[]>();
  const half = new Map<ValueId, ValueId>();
  for (const p of sorted) {
    let source = floats.get(p.value)!;
    if (shapes.dtype(source) !== "f32") {
      const cast =
        half.get(source) ??
        patch.node({ op: "Cast", inputs: [source], attrs: { to: intAttr(DTYPES.f32.onnx) } })[0];
      half.set(source, cast);
      source = cast;
    }
    parts.set(p, emitProbe(e, source, p, dimsOf(p), places.get(p)!));
  }
  const inputsOfConcat = [...sorted].reverse().flatMap((p) => parts.get(p)!);
  const answers = patch.node({
    op: "Concat",
    name: "observe_answers",
    inputs: inputsOfConcat,
    attrs: { axis: intAttr(0) },
  })[0];
  const slots = new Map<Probe, Slot>();
  let offset = 0;
  for (const probe of [...sorted].reverse()) {
    const length = probeLength(probe, dimsOf(probe));
    slots.set(probe, { probe, dims: dimsOf(probe), offset, length });
    offset += length;
  }
  patch.retype(answers, tensorType("f32", [offset]));
  patch.apply();
  const output = copy.graph.value(answers).name;
  copy.graph = rebuilt(copy.graph, { outputs: [answers] });
  return { model: copy, output, slots: asked.map((p) => slots.get(p)!), indices: inputs.draw };
}

function rebuilt(
  graph: Graph,
  change: { values?: Iterable<Value>; inputs?: readonly ValueId[]; outputs?: readonly ValueId[] },
): Graph {
  return new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values: change.values ?? graph.values(),
    inputs: change.inputs ?? graph.inputs,
    outputs: change.outputs ?? graph.outputs,
  });
}
