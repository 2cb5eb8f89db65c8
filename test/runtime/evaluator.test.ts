import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { byteLength, DTYPES, type DType } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { f32Tensor, inlineTensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { bytesOf } from "../../src/runtime/kernels/elements.ts";
import { decodeStrings, encodeStrings } from "../../src/runtime/strings.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

const dense = (dtype: DType, dims: readonly number[], bytes: ArrayBufferView): Dense => ({
  dtype,
  dims,
  bytes: bytesOf(bytes),
});

/** y = op(x) with x of the given type. */
function unary(op: string, dtype: DType, dims: readonly number[], typed = true, attrs = {}) {
  const b = new ModelBuilder({ opset: 25 });
  const y = b.node(op, [b.input("x", dtype, dims)], attrs);
  b.output(y, "y", typed ? tensorType(dtype, dims) : null);
  return b.build();
}

/** 16 values whose bit patterns are valid in every type. */
const pattern = (dtype: DType): Uint8Array => {
  const bytes = new Uint8Array(byteLength(dtype, 16));
  for (let i = 0; i < bytes.length; i++) bytes[i] = dtype === "bool" ? i & 1 : (i * 7 + 16) & 0x7f & ~0x40;
  return bytes;
};

/** The pinned runtime has no kernels that only move these types; Cast is what it can do with them. */
const CAST_ONLY: readonly DType[] = ["u4", "i4", "u2", "i2", "f8e8m0"];
const REFUSED: readonly DType[] = ["string", "c64", "c128", "f4e2m1"];
const MOVED = (Object.keys(DTYPES) as DType[]).filter((d) => ![...REFUSED, ...CAST_ONLY].includes(d));

describe("element types", () => {
  test.each(MOVED)("%s passes through Reshape with its bits unchanged", async (dtype) => {
    const b = new ModelBuilder({ opset: 25 });
    const shape = b.constant(inlineTensor("i64", [2], bytesOf(BigInt64Array.of(4n, 4n))), "shape");
    b.output(b.node("Reshape", [b.input("x", dtype, [16]), shape]), "y", tensorType(dtype, [4, 4]));
    const bytes = pattern(dtype);
    const out = await runtime.evaluator.run(b.build(), new Map([["x", dense(dtype, [16], bytes)]]));
    expect(out.get("y")).toEqual({ dtype, dims: [4, 4], bytes });
  });

  test.each(CAST_ONLY)("%s passes through Cast to float and back with its bits unchanged", async (dtype) => {
    const b = new ModelBuilder({ opset: 25 });
    const wide = b.node("Cast", [b.input("x", dtype, [16])], { to: DTYPES.f32.onnx });
    b.output(b.node("Cast", [wide], { to: DTYPES[dtype].onnx }), "y", tensorType(dtype, [16]));
    const bytes = pattern(dtype);
    const out = await runtime.evaluator.run(b.build(), new Map([["x", dense(dtype, [16], bytes)]]));
    expect(out.get("y")).toEqual({ dtype, dims: [16], bytes });
  });

  test("an output without a declared type may be one the binding cannot pass", async () => {
    const b = new ModelBuilder({ opset: 19 });
    const y = b.node("Cast", [b.input("x", "f32", [2])], { to: DTYPES.bf16.onnx });
    b.output(y, "y");
    const out = await runtime.evaluator.run(
      b.build(),
      new Map([["x", dense("f32", [2], Float32Array.of(1, -2.5))]]),
    );
    expect(out.get("y")).toEqual({
      dtype: "bf16",
      dims: [2],
      bytes: bytesOf(Uint16Array.of(0x3f80, 0xc020)),
    });
  });

  test("strings", async () => {
    const values = ["", "é", "three"].map((s) => new TextEncoder().encode(s));
    const x: Dense = { dtype: "string", dims: [3], bytes: encodeStrings(values) };
    const out = await runtime.evaluator.run(unary("Identity", "string", [3]), new Map([["x", x]]));
    expect(decodeStrings(out.get("y")!.bytes, 3).map((v) => new TextDecoder().decode(v))).toEqual([
      "",
      "é",
      "three",
    ]);
  });

  test.each(["c64", "f4e2m1"] as const)("%s is refused with a code", async (dtype) => {
    const x: Dense = { dtype, dims: [2], bytes: new Uint8Array(byteLength(dtype, 2)) };
    await expect(
      runtime.evaluator.run(unary("Identity", dtype, [2]), new Map([["x", x]])),
    ).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  });
});

describe("odd shapes", () => {
  test("scalars", async () => {
    const out = await runtime.evaluator.run(
      unary("Neg", "f32", []),
      new Map([["x", dense("f32", [], Float32Array.of(3))]]),
    );
    expect(out.get("y")).toEqual(dense("f32", [], Float32Array.of(-3)));
  });

  test("no elements", async () => {
    const out = await runtime.evaluator.run(
      unary("Neg", "f32", [0, 4]),
      new Map([["x", dense("f32", [0, 4], new Float32Array(0))]]),
    );
    expect(out.get("y")).toEqual({ dtype: "f32", dims: [0, 4], bytes: new Uint8Array(0) });
  });

  test("bytes at an odd address and in shared memory", async () => {
    const odd = new Uint8Array(9).subarray(1);
    odd.set(bytesOf(Float32Array.of(1, 2)));
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    shared.set(odd);
    for (const bytes of [odd, shared]) {
      const out = await runtime.evaluator.run(
        unary("Neg", "f32", [2]),
        new Map([["x", { dtype: "f32", dims: [2], bytes }]]),
      );
      expect(out.get("y")).toEqual(dense("f32", [2], Float32Array.of(-1, -2)));
    }
  });

  test("a constant as output, and no inputs at all", async () => {
    const b = new ModelBuilder();
    b.output(b.constant(f32Tensor([1, 2])), "y");
    const out = await runtime.evaluator.run(b.build(), new Map());
    expect(out.get("y")).toEqual(dense("f32", [2], Float32Array.of(1, 2)));
  });

  test("a bf16 input that is also an output", async () => {
    const b = new ModelBuilder({ opset: 19 });
    const x = b.input("x", "bf16", [2]);
    b.output(x);
    b.output(b.node("Identity", [x]), "y", tensorType("bf16", [2]));
    const d = dense("bf16", [2], Uint16Array.of(0x3f80, 0xc020));
    const out = await runtime.evaluator.run(b.build(), new Map([["x", d]]));
    expect(out.get("x")).toEqual(d);
    expect(out.get("y")).toEqual(d);
  });
});

describe("refusals", () => {
  test.each([
    ["missing", undefined],
    ["of another type", dense("i32", [2], Int32Array.of(1, 2))],
    ["of another length", dense("f32", [3], new Float32Array(3))],
    ["of another rank", dense("f32", [1, 2], new Float32Array(2))],
  ])("a feed that is %s", async (_, x) => {
    const feeds = new Map(x === undefined ? [] : [["x", x] as const]);
    await expect(runtime.evaluator.run(unary("Neg", "f32", [2]), feeds)).rejects.toMatchObject({
      code: "FEED_INVALID",
      diagnostic: { details: { name: "x" } },
    });
  });

  test("unknown operators", async () => {
    const feeds = new Map([["x", dense("f32", [2], new Float32Array(2))]]);
    await expect(runtime.evaluator.run(unary("NoSuchOp", "f32", [2]), feeds)).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
  });

  test("a kernel that fails while it runs", async () => {
    const b = new ModelBuilder();
    const x = b.input("x", "i32", ["n"]);
    b.output(b.node("Div", [x, x]), "y", tensorType("i32", ["n"]));
    const feeds = new Map([["x", dense("i32", [1], Int32Array.of(0))]]);
    await expect(runtime.evaluator.run(b.build(), feeds)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  });

  test("bytes that are no model", async () => {
    await expect(runtime.openSession(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
    await expect(runtime.openSession(new Uint8Array(0))).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
    await expect(runtime.openSession("/no/such/model.onnx")).rejects.toMatchObject({
      code: "RUNTIME_REJECTED",
    });
  });
});
