import { expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { dedupeWeights } from "../../../src/passes/clean/dedupe-weights.ts";
import { apply, difference, ops, wave } from "../harness.ts";

const [ROWS, COLUMNS] = [12, 20];
const rng = createRng(5);
const W = Float32Array.from({ length: ROWS * COLUMNS }, () => rng.normal());
const T = Float32Array.from({ length: W.length }, (_, i) => W[(i % ROWS) * COLUMNS + Math.floor(i / ROWS)]!);

function model(make: (b: ModelBuilder, x: ValueId, w: ValueId, t: ValueId) => ValueId, rank = 2): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", rank === 2 ? [3, ROWS] : [2, 3, ROWS]);
  const w = b.constant(f32Tensor(W, [ROWS, COLUMNS]), "w");
  const t = b.constant(f32Tensor(T, [COLUMNS, ROWS]), "t");
  return b.output(make(b, x, w, t), "y", tensorType("f32", rank === 2 ? [3, ROWS] : [2, 3, ROWS])).build();
}
const matrices = (m: Model): number => [...m.graph.values()].filter((v) => v.init?.dims.length === 2).length;

it.each([
  ["MatMul", (b: ModelBuilder, h: ValueId, t: ValueId) => b.node("MatMul", [h, t])],
  [
    "Gemm",
    (b: ModelBuilder, h: ValueId, t: ValueId) =>
      b.node("Gemm", [h, t, b.constant(f32Tensor(W.slice(0, ROWS)), "c")]),
  ],
] as const)("reads a transposed twin turned around: %s", async (_name, last) => {
  const make = () => model((b, x, w, t) => last(b, b.node("MatMul", [x, w]), t));
  const shared = make();
  expect(matrices(shared)).toBe(2);
  const said = await apply(shared, [dedupeWeights, { minBytes: 1 }]);
  expect(said).toMatchObject([
    { kind: "applied", rule: "transposed-twin", node: "t", to: "w", bytesAfter: 0 },
  ]);
  expect(matrices(shared)).toBe(1);
  expect(ops(shared)).toEqual(["MatMul", "Gemm"]);
  expect(await difference(make(), shared, { x: wave([3, ROWS]) })).toBeLessThan(1e-5);
  expect(await apply(shared, [dedupeWeights, { minBytes: 1 }])).toEqual([]);
});

it("turns the flag of a Gemm back", async () => {
  const make = () => model((b, x, _w, t) => b.node("MatMul", [b.node("Gemm", [x, t], { transB: 1 }), t]));
  const shared = make();
  await apply(shared, [dedupeWeights, { minBytes: 1 }]);
  expect(await difference(make(), shared, { x: wave([3, ROWS]) })).toBeLessThan(1e-5);
});

it("leaves a twin that would need a Transpose, and says so", async () => {
  const make = () => model((b, x, w, t) => b.node("MatMul", [b.node("MatMul", [x, w]), t]), 3);
  const shared = make();
  const said = await apply(shared, [dedupeWeights, { minBytes: 1 }]);
  expect(said).toMatchObject([{ kind: "skipped", rule: "transposed-twin", node: "t" }]);
  expect(matrices(shared)).toBe(2);
});

it("tells matrices with the same corners apart", async () => {
  const other = T.slice();
  other[7]! += 1;
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [3, ROWS]);
  const w = b.constant(f32Tensor(W, [ROWS, COLUMNS]), "w");
  const y = b.node("MatMul", [b.node("MatMul", [x, w]), b.constant(f32Tensor(other, [COLUMNS, ROWS]), "t")]);
  const m = b.output(y, "y", tensorType("f32", [3, ROWS])).build();
  expect(await apply(m, [dedupeWeights, { minBytes: 1 }])).toEqual([]);
});
