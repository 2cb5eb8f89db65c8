import type { Unfold } from "../../../src/calibrate/statistics/types.ts";
import { completeOptions } from "../../../src/compile/recipe/validate.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { Graph, type Model } from "../../../src/ir/graph.ts";
import { readModel } from "../../../src/ir/onnx/index.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { passGroups, resolvePass } from "../../../src/passes/index.ts";
import { runPass } from "../../../src/passes/runner.ts";
import type { Runtime } from "../../../src/runtime/index.ts";

/** A copy of a model that also returns some of its float32 values, to recompute statistics from whole activations. */
export function exposing(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const ids = [...graph.values()]
    .filter((v) => names.includes(v.name) && v.producer !== null)
    .map((v) => v.id);
  const outputs = [...graph.outputs, ...ids.filter((id) => !graph.outputs.includes(id))];
  copy.graph = new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values: [...graph.values()].map((v) =>
      ids.includes(v.id) && v.type === null ? { ...v, type: tensorType("f32", null) } : v,
    ),
    inputs: graph.inputs,
    outputs,
  });
  return copy;
}

/** One activation: row-major values and their dims. */
export interface Activation {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** All positions of an activation as rows of channels. */
export function rowsOf({ dims, data }: Activation, axis: number): number[][] {
  const before = dims.slice(0, axis).reduce((a, b) => a * b, 1);
  const channels = dims[axis]!;
  const after = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const out: number[][] = [];
  for (let a = 0; a < before; a++)
    for (let s = 0; s < after; s++)
      out.push(Array.from({ length: channels }, (_, c) => data[(a * channels + c) * after + s]!));
  return out;
}

/** The patches a convolution sees, one row each, channel slowest: the textbook loops. */
export function im2col({ dims, data }: Activation, u: Unfold): number[][] {
  const [n, c, h, w] = dims as [number, number, number, number];
  const [kh, kw] = u.kernel;
  const [top, left, bottom, right] = u.pads;
  const oh = Math.floor((h + top + bottom - u.dilations[0] * (kh - 1) - 1) / u.strides[0]) + 1;
  const ow = Math.floor((w + left + right - u.dilations[1] * (kw - 1) - 1) / u.strides[1]) + 1;
  const out: number[][] = [];
  for (let b = 0; b < n; b++)
    for (let y = 0; y < oh; y++)
      for (let x = 0; x < ow; x++) {
        const row: number[] = [];
        for (let k = 0; k < c; k++)
          for (let i = 0; i < kh; i++)
            for (let j = 0; j < kw; j++) {
              const yy = y * u.strides[0] + i * u.dilations[0] - top;
              const xx = x * u.strides[1] + j * u.dilations[1] - left;
              row.push(yy < 0 || xx < 0 || yy >= h || xx >= w ? 0 : data[((b * c + k) * h + yy) * w + xx]!);
            }
        out.push(row);
      }
  return out;
}

/** Σ x xᵀ, row major, float64. */
export function gramOf(rows: readonly (readonly number[])[]): Float64Array {
  const size = rows[0]!.length;
  const out = new Float64Array(size * size);
  for (const r of rows)
    for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) out[i * size + j]! += r[i]! * r[j]!;
  return out;
}

/** Largest difference over the largest magnitude. */
export function relative(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let top = 0;
  let off = found.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < expected.length; i++) {
    top = Math.max(top, Math.abs(expected[i]!));
    off = Math.max(off, Math.abs(found[i]! - expected[i]!));
  }
  return off / (top === 0 ? 1 : top);
}

/** Whether arrays hold the same bits; comparing large ones element by element takes a test runner seconds. */
export function identical(
  a: readonly Float64Array[] | undefined,
  b: readonly Float64Array[] | undefined,
): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return a === b;
  const bytes = (v: Float64Array): Uint8Array => new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
  return a.every((v, i) => Buffer.compare(bytes(v), bytes(b[i]!)) === 0);
}

/** The bundled denoiser after the exact clean-up passes: the runtime loads it in a tenth of the time. */
export async function cleanDenoiser(path: string, runtime: Runtime): Promise<Model> {
  const model = await readModel(path);
  const { evaluator, reader } = runtime;
  const options = { evaluator, reader, target: null, seed: 0, ranges: null, trail: [] };
  for (const name of passGroups["clean"]!) {
    const pass = resolvePass(name);
    await runPass(model, pass, completeOptions(pass, {}, "the test"), options);
  }
  return model;
}
