import { expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { simplify } from "../../../src/passes/clean/simplify.ts";
import { apply, difference, ops, wave } from "../harness.ts";

function build(
  make: (b: ModelBuilder, x: ReturnType<ModelBuilder["input"]>) => ReturnType<ModelBuilder["input"]>,
  shape: (number | string)[] = [2, 3, 4],
): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", shape);
  b.output(make(b, x), "y", tensorType("f32", null));
  return b.build();
}

async function simplified(
  make: Parameters<typeof build>[0],
  shape: (number | string)[],
  feed: number[],
): Promise<string[]> {
  const model = build(make, shape);
  await apply(model, [simplify], [removeDead]);
  expect(await difference(build(make, shape), model, { x: wave(feed) })).toBe(0);
  return ops(model);
}

it("drops additions of zero, factors of one, and fills known to be zero", async () => {
  const got = await simplified(
    (b, x) => {
      const plus = b.node("Add", [x, b.constant(f32Tensor([0], []))]);
      const times = b.node("Mul", [b.constant(f32Tensor([1, 1, 1, 1])), plus]);
      const fill = b.node("ConstantOfShape", [b.constant(i64Tensor([2, 3, 4]))]);
      const zero = b.node("Mul", [fill, b.constant(f32Tensor([3], []))]);
      return b.node("Relu", [b.node("Add", [b.node("Div", [times, b.constant(f32Tensor([1]))]), zero])]);
    },
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(got).toEqual(["Relu"]);
});

it("keeps an addition of zero that broadcasts", async () => {
  const got = await simplified(
    (b, x) => b.node("Add", [x, b.constant(f32Tensor(new Float32Array(6), [6, 1, 1, 1]))]),
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(got).toEqual(["Add"]);
});

it("composes transposes and turns those that move only unit axes into a reshape", async () => {
  const chain = await simplified(
    (b, x) => b.node("Transpose", [b.node("Transpose", [x], { perm: [1, 2, 0] })], { perm: [2, 0, 1] }),
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(chain).toEqual(["Identity"]);
  const unit = await simplified(
    (b, x) => b.node("Transpose", [x], { perm: [0, 2, 1] }),
    [2, 1, 4],
    [2, 1, 4],
  );
  expect(unit).toEqual(["Reshape"]);
});

it("gives Reshape a constant target when one symbolic axis is left", async () => {
  const got = await simplified(
    (b, x) => {
      const n = b.node("Gather", [b.node("Shape", [x]), b.constant(i64Tensor([0], []))]);
      const target = b.node(
        "Concat",
        [b.node("Unsqueeze", [n, b.constant(i64Tensor([0]))]), b.constant(i64Tensor([12]))],
        { axis: 0 },
      );
      return b.node("Reshape", [x, target]);
    },
    ["batch", 3, 4],
    [5, 3, 4],
  );
  expect(got).toEqual(["Reshape"]);
});

it("leaves a Reshape alone whose target mixes two symbolic axes", async () => {
  const model = build(
    (b, x) => {
      const shape = b.node("Shape", [x]);
      const one = (i: number) => b.node("Gather", [shape, b.constant(i64Tensor([i]))]);
      return b.node("Reshape", [x, b.node("Concat", [one(1), one(0), one(2)], { axis: 0 })]);
    },
    ["a", "b", 4],
  );
  await apply(model, [simplify], [removeDead]);
  expect(ops(model)).toContain("Concat");
});

it("merges chains of shape changes", async () => {
  const got = await simplified(
    (b, x) => {
      const flat = b.node("Reshape", [x, b.constant(i64Tensor([2, 12]))]);
      const more = b.node("Unsqueeze", [flat, b.constant(i64Tensor([2]))]);
      return b.node("Unsqueeze", [more, b.constant(i64Tensor([3]))]);
    },
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(got).toEqual(["Reshape"]);
});

it("writes slices that cut an axis into pieces as one Split", async () => {
  const got = await simplified(
    (b, x) => {
      const slice = (from: number, to: number) =>
        b.node("Slice", [
          x,
          b.constant(i64Tensor([from])),
          b.constant(i64Tensor([to])),
          b.constant(i64Tensor([2])),
        ]);
      return b.node("Mul", [slice(2, 2 ** 31), slice(0, 2)]);
    },
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(got).toEqual(["Split", "Mul"]);
});

it("keeps slices that leave a gap", async () => {
  const got = await simplified(
    (b, x) => {
      const slice = (from: number, to: number) =>
        b.node("Slice", [
          x,
          b.constant(i64Tensor([from])),
          b.constant(i64Tensor([to])),
          b.constant(i64Tensor([2])),
        ]);
      return b.node("Mul", [slice(0, 1), slice(3, 4)]);
    },
    [2, 3, 4],
    [2, 3, 4],
  );
  expect(got).toEqual(["Slice", "Slice", "Mul"]);
});

it("keeps the names of graph inputs and outputs when nothing is left between them", async () => {
  const model = build((b, x) => b.node("Dropout", [x]), [2, 3]);
  await apply(model, [simplify], [removeDead]);
  const names = (ids: readonly number[]) => ids.map((id) => model.graph.value(id as never).name);
  expect(names(model.graph.inputs)).toEqual(["x"]);
  expect(names(model.graph.outputs)).toEqual(["y"]);
  expect(ops(model)).toEqual(["Identity"]);
});

it("does not take a Dropout that trains for an identity", async () => {
  const model = build((b, x) =>
    b.node("Dropout", [
      x,
      b.constant(f32Tensor([0.5], [])),
      b.constant({ dtype: "bool", dims: [], source: { kind: "inline", bytes: Uint8Array.of(1) } }),
    ]),
  );
  await apply(model, [simplify]);
  expect(ops(model)).toEqual(["Dropout"]);
});

it.each(["abc->cab", "b...->...b", "b ... a -> a ... b", "cab"])(
  "spells an Einsum that only moves axes as Transpose: %s",
  async (equation) => {
    const got = await simplified((b, x) => b.node("Einsum", [x], { equation }), [2, 3, 4], [2, 3, 4]);
    expect(got).toEqual(["Transpose"]);
  },
);

it.each(["ab->a", "aa->a", "ab->"])("leaves an Einsum that sums or picks: %s", async (equation) => {
  const got = await simplified((b, x) => b.node("Einsum", [x], { equation }), [3, 3], [3, 3]);
  expect(got).toEqual(["Einsum"]);
});
