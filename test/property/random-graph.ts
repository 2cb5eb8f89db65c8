import fc from "fast-check";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../src/ir/tensor.ts";
import { createRng } from "../../src/numeric/rng.ts";

/** One step of a random program: which operator, which values it reads, and numbers it may use as it likes. */
export interface Step {
  readonly op: number;
  readonly reads: readonly [number, number];
  readonly knobs: readonly [number, number, number];
}

/** A random program over float32 tensors. */
export interface Program {
  readonly opset: 13 | 17 | 18 | 21;
  readonly steps: readonly Step[];
}

/** A value of the graph under construction with the shape it will have when it runs. */
interface Known {
  readonly id: ValueId;
  readonly dims: readonly number[];
}

interface Site {
  readonly b: ModelBuilder;
  readonly x: Known;
  readonly y: Known;
  readonly knobs: readonly [number, number, number];
  readonly opset: number;
  /** Seeded constant; equal arguments give equal constants, so duplicates occur. */
  constant(dims: readonly number[], salt: number): ValueId;
  ints(values: readonly number[]): ValueId;
  scalar(value: number): ValueId;
}

/** Builds one operator, or returns `null` when the values at hand do not fit it. */
type Make = (s: Site) => Known | null;

const MAX_ELEMENTS = 2048;
const MAX_RANK = 5;

function pick<T>(items: readonly T[], knob: number): T {
  return items[knob % items.length]!;
}

const unary =
  (op: string): Make =>
  ({ b, x }) => ({ id: b.node(op, [x.id]), dims: x.dims });

const binary =
  (op: string): Make =>
  ({ b, x, y, knobs, constant }) => {
    if (x.dims.join() === y.dims.join()) return { id: b.node(op, [x.id, y.id]), dims: x.dims };
    const last = x.dims.at(-1) ?? 1;
    const other = constant(knobs[0] % 2 === 0 ? [] : [last], knobs[1] % 3);
    return { id: b.node(op, knobs[2] % 2 === 0 ? [x.id, other] : [other, x.id]), dims: x.dims };
  };

const neutral: Make = ({ b, x, knobs, scalar }) => {
  const [op, value] = pick(
    [
      ["Mul", 1],
      ["Add", 0],
      ["Sub", 0],
      ["Div", 1],
    ] as const,
    knobs[0],
  );
  return { id: b.node(op, [x.id, scalar(value)]), dims: x.dims };
};

const permutation: Make = ({ b, x, knobs }) => {
  const perm = x.dims.map((_, i) => i);
  for (let i = perm.length - 1; i > 0; i--) {
    const j = (knobs[0] + i * knobs[1]) % (i + 1);
    [perm[i], perm[j]] = [perm[j]!, perm[i]!];
  }
  return { id: b.node("Transpose", [x.id], { perm }), dims: perm.map((p) => x.dims[p]!) };
};

/** Reshape by merging two neighbours, splitting one axis or flattening; the target may use 0 and -1. */
const reshape: Make = ({ b, x, knobs, ints }) => {
  const rank = x.dims.length;
  const at = rank === 0 ? 0 : knobs[0] % rank;
  const kind = knobs[1] % 3;
  let dims: number[];
  if (kind === 0 && at + 1 < rank)
    dims = [...x.dims.slice(0, at), x.dims[at]! * x.dims[at + 1]!, ...x.dims.slice(at + 2)];
  else if (kind === 1 && rank > 0 && rank < MAX_RANK && x.dims[at]! % 2 === 0)
    dims = [...x.dims.slice(0, at), 2, x.dims[at]! / 2, ...x.dims.slice(at + 1)];
  else dims = [x.dims.reduce((n, d) => n * d, 1)];
  const spelled = dims.map((d, i) => (knobs[2] % 3 === 1 && x.dims[i] === d ? 0 : d));
  if (knobs[2] % 2 === 1 && spelled.length > 0) spelled[spelled.length - 1] = -1;
  return { id: b.node("Reshape", [x.id, ints(spelled)]), dims };
};

const unsqueeze: Make = ({ b, x, knobs, ints }) => {
  if (x.dims.length >= MAX_RANK) return null;
  const axis = knobs[0] % (x.dims.length + 1);
  return {
    id: b.node("Unsqueeze", [x.id, ints([axis])]),
    dims: [...x.dims.slice(0, axis), 1, ...x.dims.slice(axis)],
  };
};

const squeeze: Make = ({ b, x, ints }) => {
  const axis = x.dims.indexOf(1);
  if (axis < 0) return null;
  return { id: b.node("Squeeze", [x.id, ints([axis])]), dims: x.dims.filter((_, i) => i !== axis) };
};

const concat: Make = ({ b, x, y, knobs }) => {
  const axis = x.dims.length === 0 ? -1 : knobs[0] % x.dims.length;
  if (axis < 0) return null;
  const fits = y.dims.length === x.dims.length && y.dims.every((d, i) => i === axis || d === x.dims[i]);
  const other = fits ? y : x;
  const dims = x.dims.map((d, i) => (i === axis ? d + other.dims[i]! : d));
  if (dims.reduce((n, d) => n * d, 1) > MAX_ELEMENTS) return null;
  return {
    id: b.node("Concat", [x.id, other.id], { axis: knobs[1] % 2 === 0 ? axis : axis - x.dims.length }),
    dims,
  };
};

const slice: Make = ({ b, x, knobs, ints }) => {
  if (x.dims.length === 0) return null;
  const axis = knobs[0] % x.dims.length;
  const length = x.dims[axis]!;
  const start = knobs[1] % length;
  const end = pick([length, 2 ** 31, start + 1, length + 5], knobs[2]);
  const id = b.node("Slice", [x.id, ints([start]), ints([end]), ints([axis]), ints([1])]);
  return { id, dims: x.dims.map((d, i) => (i === axis ? Math.min(end, length) - start : d)) };
};

const split: Make = ({ b, x, knobs, ints }) => {
  const axis = x.dims.findIndex((d) => d % 2 === 0);
  if (axis < 0) return null;
  const half = x.dims[axis]! / 2;
  const parts = b.multi("Split", [x.id, ints([half, half])], 2, { axis });
  return { id: parts[knobs[0] % 2]!, dims: x.dims.map((d, i) => (i === axis ? half : d)) };
};

const matmul: Make = ({ b, x, knobs, constant, scalar }) => {
  if (x.dims.length < 2) return null;
  const to = pick([2, 4, 6], knobs[0]);
  const w = constant([x.dims.at(-1)!, to], knobs[1] % 3);
  const id = b.node("Mul", [b.node("MatMul", [x.id, w]), scalar(0.25)]);
  const withBias = knobs[2] % 2 === 0 ? b.node("Add", [constant([to], knobs[1] % 3), id]) : id;
  return { id: withBias, dims: [...x.dims.slice(0, -1), to] };
};

const softmax: Make = ({ b, x, knobs }) => {
  if (x.dims.length === 0) return null;
  return { id: b.node("Softmax", [x.id], { axis: -1 - (knobs[0] % x.dims.length) }), dims: x.dims };
};

const mean = (s: Site, v: ValueId): ValueId =>
  s.opset >= 18 ? s.b.node("ReduceMean", [v, s.ints([-1])]) : s.b.node("ReduceMean", [v], { axes: [-1] });

const layerNorm: Make = (s) => {
  const { b, x, constant, scalar, knobs } = s;
  const width = x.dims.at(-1);
  if (width === undefined || width < 2) return null;
  const centred = b.node("Sub", [x.id, mean(s, x.id)]);
  const square = knobs[0] % 2 === 0 ? b.node("Pow", [centred, scalar(2)]) : b.node("Mul", [centred, centred]);
  const std = b.node("Sqrt", [b.node("Add", [mean(s, square), scalar(1e-5)])]);
  const normal = b.node("Div", [centred, std]);
  const scaled = b.node("Mul", [normal, constant([width], knobs[1] % 3)]);
  return { id: b.node("Add", [scaled, constant([width], 7)]), dims: x.dims };
};

const gelu: Make = ({ b, x, scalar }) => {
  const erf = b.node("Erf", [b.node("Div", [x.id, scalar(Math.SQRT2)])]);
  const product = b.node("Mul", [x.id, b.node("Add", [erf, scalar(1)])]);
  return { id: b.node("Mul", [product, scalar(0.5)]), dims: x.dims };
};

const silu: Make = ({ b, x }) => ({ id: b.node("Mul", [x.id, b.node("Sigmoid", [x.id])]), dims: x.dims });

const attention: Make = ({ b, x, scalar }) => {
  if (x.dims.length !== 3) return null;
  const turned = b.node("Transpose", [x.id], { perm: [0, 2, 1] });
  const scores = b.node("Mul", [b.node("MatMul", [x.id, turned]), scalar(0.3)]);
  return { id: b.node("MatMul", [b.node("Softmax", [scores], { axis: -1 }), x.id]), dims: x.dims };
};

/** Reshape to its own shape, spelled through Shape, Gather and Concat. */
const shapeChain: Make = ({ b, x, ints }) => {
  if (x.dims.length === 0) return null;
  const shape = b.node("Shape", [x.id]);
  const parts = x.dims.map((_, i) =>
    b.node("Unsqueeze", [
      b.node("Gather", [shape, b.constant(i64Tensor([i], []), "index")], { axis: 0 }),
      ints([0]),
    ]),
  );
  return { id: b.node("Reshape", [x.id, b.node("Concat", parts, { axis: 0 })]), dims: x.dims };
};

const constantWork: Make = ({ b, x, constant, knobs, scalar }) => {
  const width = x.dims.at(-1) ?? 1;
  const folded = b.node("Tanh", [b.node("Add", [constant([width], knobs[0] % 3), scalar(knobs[1] % 2)])]);
  return { id: b.node("Add", [x.id, folded]), dims: x.dims.length === 0 ? [width] : x.dims };
};

const roundTrip: Make = ({ b, x }) => {
  const floor = b.node("Cast", [b.node("Clip", [x.id])], { to: 11 });
  return { id: b.node("Cast", [floor], { to: 1 }), dims: x.dims };
};

const expand: Make = ({ b, x, ints }) => ({
  id: b.node("Expand", [x.id, ints(x.dims.length === 0 ? [1] : x.dims.map(() => 1))]),
  dims: x.dims.length === 0 ? [1] : x.dims,
});

const reduce: Make = (s) => {
  if (s.x.dims.length === 0) return null;
  return { id: mean(s, s.x.id), dims: [...s.x.dims.slice(0, -1), 1] };
};

/** The operator table. Every entry keeps values bounded, so deep programs stay finite. */
const TABLE: readonly Make[] = [
  ...["Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Erf", "Identity"].map(unary),
  ...["Add", "Sub", "Mul", "Max", "Min"].map(binary),
  neutral,
  permutation,
  permutation,
  reshape,
  reshape,
  unsqueeze,
  squeeze,
  concat,
  slice,
  split,
  matmul,
  softmax,
  layerNorm,
  gelu,
  silu,
  attention,
  shapeChain,
  constantWork,
  roundTrip,
  expand,
  reduce,
];

/** Random programs of 1 to 14 steps; shrinking drops steps and simplifies knobs. */
export const programs: fc.Arbitrary<Program> = fc.record({
  opset: fc.constantFrom(13, 17, 18, 21),
  steps: fc.array(
    fc.record({
      op: fc.nat(TABLE.length - 1),
      reads: fc.tuple(fc.nat(7), fc.nat(7)),
      knobs: fc.tuple(fc.nat(11), fc.nat(11), fc.nat(11)),
    }),
    { minLength: 1, maxLength: 14 },
  ),
});

function weights(dims: readonly number[], salt: number): Tensor {
  const rng = createRng(salt, "program", ...dims);
  const count = dims.reduce((n, d) => n * d, 1);
  return f32Tensor(
    Float32Array.from({ length: count }, () => rng.float() * 2 - 1),
    dims,
  );
}

/** The model a program means. Always valid: steps that do not fit their values are left out. */
export function buildProgram(program: Program): Model {
  const b = new ModelBuilder({ name: "program", opset: program.opset });
  const values: Known[] = [
    { id: b.input("a", "f32", ["batch", 4, 6]), dims: [2, 4, 6] },
    { id: b.input("c", "f32", ["batch", 4, 6]), dims: [2, 4, 6] },
  ];
  let made = 0;
  for (const step of program.steps) {
    const read = (back: number): Known => values[Math.max(0, values.length - 1 - (back % values.length))]!;
    const result = TABLE[step.op]!({
      b,
      x: read(step.reads[0]),
      y: read(step.reads[1]),
      knobs: step.knobs,
      opset: program.opset,
      constant: (dims, salt) => b.constant(weights(dims, salt), "w"),
      ints: (v) => b.constant(i64Tensor(v), "i"),
      scalar: (v) => b.constant(f32Tensor([v], []), "s"),
    });
    if (result === null) continue;
    values.push(result);
    made++;
  }
  const ends =
    made === 0 ? [b.node("Identity", [values[0]!.id])] : values.slice(-Math.min(3, made)).map((v) => v.id);
  for (const [i, id] of [...new Set(ends)].entries())
    b.output(id, `out_${i}`, { kind: "tensor", dtype: "f32", shape: null });
  return b.build();
}
