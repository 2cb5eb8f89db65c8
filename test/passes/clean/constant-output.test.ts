import { expect, test } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { foldConstants } from "../../../src/passes/clean/fold-constants.ts";
import { apply, ops } from "../harness.ts";

test("a graph output that is constant ends as one Identity of it", async () => {
  const b = new ModelBuilder();
  const x = b.node("Constant", [], { value: f32Tensor([1, 2, 3]) });
  b.output(b.node("Neg", [b.node("Relu", [x])]), "y", tensorType("f32", [3]));
  const model = b.build();
  await apply(model, [foldConstants]);
  expect(ops(model)).toEqual(["Identity"]);
  const [identity] = model.graph.nodes();
  expect(model.graph.constant(identity!.inputs[0])?.dims).toEqual([3]);
  expect(model.graph.value(model.graph.outputs[0]!).name).toBe("y");
});
