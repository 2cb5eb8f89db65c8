import { expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { foldConstants } from "../../../src/passes/clean/fold-constants.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { specialiseShapes } from "../../../src/passes/clean/specialise-shapes.ts";
import { apply, difference, ops, wave } from "../harness.ts";

it("evaluates what depends on constants alone with the runtime's own arithmetic", async () => {
  const make = (): Model => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [2, 3]);
    const c = b.node("Sqrt", [b.node("Exp", [b.constant(f32Tensor([0.3, 1.7, -2]))])]);
    const d = b.node("Constant", [], { value: f32Tensor([2, 2, 2]) });
    b.output(b.node("Mul", [x, b.node("Div", [c, d])]), "y", tensorType("f32", [2, 3]));
    return b.build();
  };
  const model = make();
  const decisions = await apply(model, [foldConstants], [removeDead]);
  expect(ops(model)).toEqual(["Mul"]);
  expect(decisions).toContainEqual({ node: "", kind: "applied", rule: "evaluated", count: 3 });
  expect(await difference(make(), model, { x: wave([2, 3]) })).toBe(0);
});

it("turns shape arithmetic into constants once the shape is fixed", async () => {
  const make = (): Model => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", ["batch", "tokens", 4]);
    const dim = (i: number) => b.node("Gather", [b.node("Shape", [x]), b.constant(i64Tensor([i]))]);
    const target = b.node(
      "Concat",
      [b.node("Mul", [dim(0), dim(1)]), b.constant(i64Tensor([2])), b.constant(i64Tensor([2]))],
      { axis: 0 },
    );
    b.output(b.node("Reshape", [x, target]), "y", tensorType("f32", ["n", 2, 2]));
    return b.build();
  };
  const model = make();
  await apply(model, [specialiseShapes, { dims: { batch: 2, "x.1": 3 } }], [foldConstants], [removeDead]);
  expect(ops(model)).toEqual(["Reshape"]);
  expect(model.graph.value(model.graph.outputs[0]!).type).toEqual(tensorType("f32", [6, 2, 2]));
  expect(await difference(make(), model, { x: wave([2, 3, 4]) })).toBe(0);
});

it("refuses a dimension the model does not have, listing those it has", async () => {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", ["batch", 4]);
  b.output(b.node("Relu", [x]), "y", tensorType("f32", null));
  const model = b.build();
  await expect(apply(model, [specialiseShapes, { dims: { bach: 2 } }])).rejects.toMatchObject({
    code: "SHAPE_DIM_UNKNOWN",
    diagnostic: { details: { dim: "bach", known: ["batch", "x.0"] } },
  });
});

it("makes transforms of large weights lazy instead of computing them", async () => {
  const make = (): Model => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [2, 8]);
    const w = b.constant(
      f32Tensor(
        Float32Array.from({ length: 64 }, (_, i) => i / 7),
        [8, 8],
      ),
      "w",
    );
    const t = b.node("Reshape", [b.node("Transpose", [w]), b.constant(i64Tensor([8, 8]))]);
    b.output(b.node("MatMul", [x, t]), "y", tensorType("f32", [2, 8]));
    return b.build();
  };
  const model = make();
  await apply(model, [foldConstants, { maxBytes: 100 }], [removeDead]);
  expect(ops(model)).toEqual(["MatMul"]);
  const weight = model.graph.constant([...model.graph.nodes()][0]!.inputs[1]);
  expect(weight?.source.kind).toBe("derived");
  expect(await difference(make(), model, { x: wave([2, 8]) })).toBe(0);
});

it("never folds the dequantization of a weight, nor random numbers", async () => {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [4, 4]);
  const q = b.constant({
    dtype: "i8",
    dims: [4, 4],
    source: { kind: "inline", bytes: new Uint8Array(16).fill(3) },
  });
  const w = b.node("DequantizeLinear", [q, b.constant(f32Tensor([0.5], []))]);
  const r = b.node("RandomNormal", [], { shape: [4, 4] });
  b.output(b.node("Add", [b.node("MatMul", [x, w]), r]), "y", tensorType("f32", [4, 4]));
  const model = b.build();
  await apply(model, [foldConstants]);
  expect(ops(model).sort()).toEqual(["Add", "DequantizeLinear", "MatMul", "RandomNormal"]);
});

it("leaves a constant alone that would grow the file, and says so", async () => {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [1]);
  const big = b.node("Expand", [b.constant(f32Tensor([1])), b.constant(i64Tensor([1024, 1024]))]);
  b.output(b.node("Add", [x, big]), "y", tensorType("f32", [1024, 1024]));
  const model = b.build();
  const decisions = await apply(model, [foldConstants]);
  expect(ops(model)).toEqual(["Expand", "Add"]);
  expect(decisions).toContainEqual(expect.objectContaining({ kind: "skipped", rule: "evaluate" }));
});
