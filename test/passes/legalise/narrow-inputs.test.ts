import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { narrowInputs } from "../../../src/passes/legalise/narrow-inputs.ts";
import { target } from "../../../src/targets/index.ts";
import { dtypeOfValue, run } from "../../targets/harness.ts";
import { floats, runtime } from "../harness.ts";

const webgpu = { target: target("webgpu") };
const TABLE = f32Tensor(
  Float32Array.from({ length: 12 }, (_, i) => i),
  [4, 3],
);

function model(read: (b: ModelBuilder, t: ValueId) => ValueId): Model {
  const b = new ModelBuilder({ opset: 21 });
  const t = b.input("t", "i64", [2]);
  return b.output(read(b, t), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const toFloat = (b: ModelBuilder, x: ValueId): ValueId => b.node("Cast", [x], { to: 1 });
const column = (b: ModelBuilder, x: ValueId): ValueId => b.node("Unsqueeze", [x, b.constant(i64Tensor([1]))]);

async function outputOf(m: Model, t: Dense): Promise<number[]> {
  const session = await (await runtime()).openSession(m);
  try {
    return [...floats((await session.run(new Map([["t", t]]))).get("y")!)];
  } finally {
    await session.release();
  }
}

const steps = (dtype: "i64" | "i32", array: ArrayBufferView): Dense => ({
  dtype,
  dims: [2],
  bytes: new Uint8Array(array.buffer),
});

describe("narrow-inputs", () => {
  it("takes a timestep as int32 and gives the same for every int32", async () => {
    const before = model((b, t) => toFloat(b, column(b, t)));
    const after = cloneModel(before);
    const decisions = await run(after, narrowInputs, {}, webgpu);
    expect(decisions).toMatchObject([{ node: "t", kind: "applied", from: "i64", to: "i32", count: 2 }]);
    expect(dtypeOfValue(after, "t")).toBe("i32");
    const wanted = await outputOf(before, steps("i64", BigInt64Array.of(999n, -(2n ** 31n))));
    expect(await outputOf(after, steps("i32", Int32Array.of(999, -(2 ** 31))))).toEqual(wanted);
  });

  it("leaves tokens and labels, which are only looked up", async () => {
    const m = model((b, t) => b.node("Gather", [b.constant(TABLE), t]));
    expect(await run(m, narrowInputs, {}, webgpu)).toEqual([]);
    expect(dtypeOfValue(m, "t")).toBe("i64");
  });

  it("narrows an input that is looked up and cast", async () => {
    const m = model((b, t) =>
      b.node("Add", [b.node("Gather", [b.constant(TABLE), t]), toFloat(b, column(b, t))]),
    );
    await run(m, narrowInputs, {}, webgpu);
    expect(await outputOf(m, steps("i32", Int32Array.of(1, 3)))).toEqual([4, 5, 6, 12, 13, 14]);
  });

  it("says what keeps an input at 64 bits", async () => {
    const m = model((b, t) => toFloat(b, b.node("Mul", [t, b.constant(i64Tensor([2]))])));
    const decisions = await run(m, narrowInputs, {}, webgpu);
    expect(decisions).toMatchObject([{ node: "t", kind: "skipped", why: expect.stringContaining("(Mul)") }]);
    expect(dtypeOfValue(m, "t")).toBe("i64");
  });

  it("does nothing where the target computes with int64", async () => {
    const m = model((b, t) => toFloat(b, t));
    expect(await run(m, narrowInputs, {}, { target: target("cpu-x64") })).toEqual([]);
    expect(dtypeOfValue(m, "t")).toBe("i64");
  });
});
