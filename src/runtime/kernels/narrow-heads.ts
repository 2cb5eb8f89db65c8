import type { Dense } from "../../ir/evaluator.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { type Narrowed, narrowScores, narrowValues, type Projection } from "../../numeric/factorize/heads.ts";
import { weighedEnergy } from "../../numeric/factorize/weighing.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { bytesOf, elementsOf } from "./elements.ts";
import { encodeFactor } from "./factor-inputs.ts";
import { sizesOf } from "./fit-inputs.ts";
import { defineKernel, type KernelType } from "./kernel.ts";
import { finiteWeights } from "./quantize.ts";

/** Which way a matrix lies: `KN` is [in, out] as MatMul has it, `NK` [out, in]. */
type Order = "KN" | "NK";

/** A matrix product in front of an attention. */
export interface HeadTensors {
  readonly weight: Tensor;
  readonly order: Order;
  /** [heads·width]; `null` without a bias. */
  readonly bias: Tensor | null;
  /** f64 Gram matrix and mean of its inputs; `null` counts all alike. */
  readonly inputs: { readonly gram: Tensor; readonly mean: Tensor } | null;
}

type Side = { readonly order: Order; readonly bias: boolean; readonly inputs: boolean };
type Sizes = { readonly heads: number; readonly width: number; readonly rank: number };

/** Row-major with a row per output, whatever way it lies. */
function rowsOf(d: Dense, order: Order): Float64Array {
  const w = Float64Array.from(finiteWeights("narrow-heads", d));
  const { rows, columns } = sizesOf(d.dims, order);
  return order === "KN" ? transposed(w, columns, rows) : w;
}

/** Takes a side's tensors off the front of a kernel's inputs. */
function takeSide(side: Side, inputs: Dense[]): Projection {
  const weights = rowsOf(inputs.shift()!, side.order);
  const bias = side.bias ? Float64Array.from(finiteWeights("narrow-heads", inputs.shift()!)) : null;
  const doubles = (): Float64Array => elementsOf(inputs.shift()!) as Float64Array;
  return { weights, bias, inputs: side.inputs ? { gram: doubles(), mean: doubles() } : null };
}

const tensorsOf = (t: HeadTensors): Tensor[] => [
  t.weight,
  ...(t.bias === null ? [] : [t.bias]),
  ...(t.inputs === null ? [] : [t.inputs.gram, t.inputs.mean]),
];
const sideOf = (t: HeadTensors): Side => ({
  order: t.order,
  bias: t.bias !== null,
  inputs: t.inputs !== null,
});

/** Bytes of a narrower projection in the types its outputs have. */
function narrowedBytes(n: Narrowed, order: Order, types: readonly KernelType[]): Dense[] {
  const rows = types[0]!.dims[order === "KN" ? 1 : 0]!;
  const w = order === "KN" ? transposed(n.weights, rows, n.weights.length / rows) : n.weights;
  return [w, ...(n.bias === null ? [] : [n.bias])].map((x, i) => encodeFactor("narrow-heads", x, types[i]!));
}

function narrowedTypes(t: HeadTensors, outputs: number): KernelType[] {
  const { columns } = sizesOf(t.weight.dims, t.order);
  const { dtype } = t.weight;
  return [
    { dtype, dims: t.order === "KN" ? [columns, outputs] : [outputs, columns] },
    ...(t.bias === null ? [] : [{ dtype: t.bias.dtype, dims: [outputs] }]),
  ];
}

type ScoreParams = Sizes & { readonly q: Side; readonly k: Side };

/** Narrower queries and keys. */
export const narrowScoresKernel = defineKernel<ScoreParams>({
  name: "narrow-scores",
  version: 1,
  scratch: (_p, inputs) => 24 * inputs.reduce((n, t) => n + t.dims.reduce((a, b) => a * b, 1), 0),
  evaluate(p, inputs, outputs) {
    const rest = [...inputs];
    const [q, k] = [takeSide(p.q, rest), takeSide(p.k, rest)];
    const found = narrowScores(q, k, p);
    const made = [
      ...narrowedBytes(found.q, p.q.order, outputs),
      ...narrowedBytes(found.k, p.k.order, outputs.slice(p.q.bias ? 2 : 1)),
    ];
    return [...made, { ...outputs.at(-1)!, bytes: bytesOf(found.spectrum) }];
  },
});

/** A narrower projection. */
export interface NarrowedTensors {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

function named(made: Tensor[], t: HeadTensors): NarrowedTensors {
  return { weight: made.shift()!, bias: t.bias === null ? null : made.shift()! };
}

/** Queries and keys of `rank` dimensions a head; `spectrum` f64 [width] is the energy of the scores per dimension. */
export function narrowedScores(
  q: HeadTensors,
  k: HeadTensors,
  sizes: Sizes,
): { readonly q: NarrowedTensors; readonly k: NarrowedTensors; readonly spectrum: Tensor } {
  const width = sizes.heads * sizes.rank;
  const types = [...narrowedTypes(q, width), ...narrowedTypes(k, width)];
  const outputs: KernelType[] = [...types, { dtype: "f64", dims: [sizes.width] }];
  const params = { ...sizes, q: sideOf(q), k: sideOf(k) };
  const made = narrowScoresKernel.derive(params, [...tensorsOf(q), ...tensorsOf(k)], outputs);
  const spectrum = made.pop()!;
  return { q: named(made, q), k: named(made, k), spectrum };
}

type ValueParams = Sizes & { readonly v: Side; readonly order: Order; readonly gram: boolean };

/** Narrower values and the output projection that reads them. */
export const narrowValuesKernel = defineKernel<ValueParams>({
  name: "narrow-values",
  version: 1,
  scratch: (_p, inputs) => 32 * inputs.reduce((n, t) => n + t.dims.reduce((a, b) => a * b, 1), 0),
  evaluate(p, inputs, outputs) {
    const rest = [...inputs];
    const v = takeSide(p.v, rest);
    const o = rest.shift()!;
    const { rows: width, columns: size } = sizesOf(o.dims, p.order);
    const weights = transposed(rowsOf(o, p.order), width, size);
    const gram = p.gram ? (elementsOf(rest.shift()!) as Float64Array) : null;
    const found = narrowValues(v, { weights, gram }, p);
    const after = p.order === "KN" ? found.o : transposed(found.o, found.o.length / width, width);
    const values = narrowedBytes(found.v, p.v.order, outputs);
    const type = outputs[values.length]!;
    const byOutput = (x: Float64Array): Float64Array => transposed(x, size, width);
    const weighing = gram === null ? null : { gram, size };
    const difference = byOutput(found.stands.map((x, i) => weights[i]! - x));
    const figures = [weighedEnergy(difference, weighing), weighedEnergy(byOutput(weights), weighing)];
    return [
      ...values,
      encodeFactor("narrow-values", after, type),
      { ...outputs.at(-2)!, bytes: bytesOf(found.spectrum) },
      { ...outputs.at(-1)!, bytes: bytesOf(Float64Array.from(figures)) },
    ];
  },
});

/** The matrix product behind an attention; `gram` is that of the joined heads. */
export interface OutputTensors {
  readonly weight: Tensor;
  readonly order: Order;
  readonly gram: Tensor | null;
}

/**
 * Values of `rank` dimensions a head and their output projection. `spectrum` f64 [width] is the energy per dimension,
 * `figures` f64 [2] noise and signal of the output projection as predicted.
 */
export function narrowedValues(v: HeadTensors, o: OutputTensors, sizes: Sizes) {
  const { rows: outputs } = sizesOf(o.weight.dims, o.order);
  const inner = sizes.heads * sizes.rank;
  const types: KernelType[] = [
    ...narrowedTypes(v, inner),
    { dtype: o.weight.dtype, dims: o.order === "KN" ? [inner, outputs] : [outputs, inner] },
    { dtype: "f64", dims: [sizes.width] },
    { dtype: "f64", dims: [2] },
  ];
  const params = { ...sizes, v: sideOf(v), order: o.order, gram: o.gram !== null };
  const inputs = [...tensorsOf(v), o.weight, ...(o.gram === null ? [] : [o.gram])];
  const made = narrowValuesKernel.derive(params, inputs, types);
  const [figures, spectrum, output] = [made.pop()!, made.pop()!, made.pop()!];
  return { v: named(made, v), output, spectrum, figures };
}
