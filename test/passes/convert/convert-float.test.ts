import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { attrInt, floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import { target } from "../../../src/targets/index.ts";
import { dtypeOfValue, run } from "../../targets/harness.ts";
import { difference, floats, ops, runtime, wave } from "../harness.ts";

/** Half a unit in the last place of fp16 for numbers below 8, a few times over. */
const HALF = 0.03;

const dense = (b: ModelBuilder, x: ValueId, name: string, k = 8, n = 8): ValueId => {
  const w = Float32Array.from({ length: k * n }, (_, i) => Math.sin(i * 1.7) / 2);
  return b.node(
    "MatMul",
    [x, b.constant(f32Tensor(w, [k, n]), `${name}_w`)],
    {},
    { name, outputNames: [`${name}_y`] },
  );
};

function chain(make: (b: ModelBuilder, x: ValueId) => ValueId, opset = 18): Model {
  const b = new ModelBuilder({ opset });
  const x = b.input("x", "f32", [4, 8]);
  return b.output(make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const compute = { to: "f16", use: "compute" } as const;
const casts = (m: Model): number => ops(m).filter((o) => o === "Cast").length;

describe("convert-float, compute", () => {
  it("converts everything between Casts at the border and keeps the signature", async () => {
    const model = chain((b, x) => b.node("Relu", [dense(b, dense(b, x, "a"), "b")]));
    const before = cloneModel(model);
    const decisions = await run(model, convertFloat, compute, { peaks: {} });
    expect(ops(model)).toEqual(["Cast", "MatMul", "MatMul", "Relu", "Cast"]);
    const [x] = model.graph.inputs;
    const [y] = model.graph.outputs;
    expect(model.graph.value(x!).type).toMatchObject({ dtype: "f32" });
    expect(model.graph.value(y!)).toMatchObject({ name: "y", type: { dtype: "f32" } });
    expect(dtypeOfValue(model, "a_y")).toBe("f16");
    expect([...model.graph.values()].filter((v) => v.init !== null).map((v) => v.init!.dtype)).toEqual([
      "f16",
      "f16",
    ]);
    expect(decisions.find((d) => d.rule === "f16-compute")).toMatchObject({ kind: "applied", count: 3 });
    const d = await difference(before, model, { x: wave([4, 8]) });
    expect(d).toBeGreaterThan(0);
    expect(d).toBeLessThan(HALF);
  });

  it("keeps values that leave the range in fp32, and says why", async () => {
    const model = chain((b, x) => dense(b, dense(b, dense(b, x, "a"), "b"), "c"));
    const decisions = await run(model, convertFloat, compute, { peaks: { b_y: 20000 } });
    expect(decisions.filter((d) => d.kind === "forced")).toEqual([
      {
        node: "b",
        kind: "forced",
        rule: "f32-island-range",
        why: expect.stringMatching(/range/),
        from: "f16",
        to: "f32",
        count: 2,
      },
    ]);
    expect(dtypeOfValue(model, "a_y")).toBe("f16");
    expect(dtypeOfValue(model, "b_y")).toBe("f32");
    const below = chain((b, x) => dense(b, dense(b, x, "a"), "b"));
    await run(below, convertFloat, compute, { peaks: { a_y: 16000 } });
    expect(dtypeOfValue(below, "a_y")).toBe("f16");
  });

  it("keeps what the recipe names in fp32, by name or operator", async () => {
    const make = () => chain((b, x) => b.node("Relu", [dense(b, dense(b, x, "a"), "b")]));
    const named = make();
    const decisions = await run(named, convertFloat, { ...compute, exclude: "^b$" }, { peaks: {} });
    expect(decisions.find((d) => d.kind === "forced")).toMatchObject({
      node: "b",
      rule: "f32-island-asked",
      count: 2,
    });
    expect(dtypeOfValue(named, "a_y")).toBe("f16");
    expect(dtypeOfValue(named, "b_y")).toBe("f32");
    const all = make();
    await run(all, convertFloat, { ...compute, exclude: "^MatMul$" }, { peaks: {} });
    expect(casts(all)).toBe(0);
    const stored = make();
    const kept = await run(stored, convertFloat, {
      to: "f16",
      use: "storage",
      minElements: 1,
      exclude: "^a$",
    });
    expect(kept.find((d) => d.kind === "skipped")).toMatchObject({ rule: "asked", count: 1 });
    expect(dtypeOfValue(stored, "a_w")).toBe("f32");
    expect(casts(stored)).toBe(1);
    const wrong = run(make(), convertFloat, { ...compute, exclude: "(" }, { peaks: {} });
    await expect(wrong).rejects.toMatchObject({ code: "OPTION_PATTERN_INVALID" });
  });

  it("keeps values that never reach the normal numbers in fp32", async () => {
    const model = chain((b, x) => dense(b, dense(b, x, "a"), "b"));
    await run(model, convertFloat, compute, { peaks: { a_y: 1e-5 } });
    expect(dtypeOfValue(model, "a_y")).toBe("f32");
  });

  it("does not cast between two islands through cheap nodes, and casts a value once", async () => {
    const model = chain((b, x) => {
      const a = dense(b, x, "a");
      const moved = b.node("Transpose", [b.node("Relu", [a])], { perm: [1, 0] });
      const back = b.node("Transpose", [moved], { perm: [1, 0] });
      const c = dense(b, back, "c");
      return b.node("Add", [dense(b, c, "d"), dense(b, c, "e")]);
    });
    const decisions = await run(model, convertFloat, compute, { peaks: { a_y: 1e5, c_y: 1e5 } });
    // a, c, d and e touch the large values; what lies between costs nothing in fp32.
    expect(decisions.filter((d) => d.kind === "forced")).toHaveLength(1);
    expect(casts(model)).toBe(0);

    const fan = chain((b, x) => {
      const a = dense(b, x, "a");
      return b.node("Add", [dense(b, a, "c"), b.node("Add", [dense(b, a, "d"), dense(b, a, "e")])]);
    });
    await run(fan, convertFloat, compute, { peaks: { x: 1e5 } });
    expect(fan.graph.users([...fan.graph.values()].find((v) => v.name === "a_y")!.id)).toHaveLength(1);
    expect(casts(fan)).toBe(2);
  });

  it("keeps norms in primitives, timesteps and scales of Resize in fp32 without ranges", async () => {
    const b = new ModelBuilder({ opset: 18 });
    const x = b.input("x", "f32", [2, 4, 3, 3]);
    const t = b.input("t", "i64", [2]);
    const axes = b.constant(i64Tensor([1, 2, 3]));
    const centred = b.node("Sub", [x, b.node("ReduceMean", [x, axes])]);
    const variance = b.node("ReduceMean", [b.node("Pow", [centred, b.constant(f32Tensor([2], []))]), axes]);
    const eps = b.node("Add", [variance, b.constant(f32Tensor([1e-6], []))]);
    const normal = b.node("Div", [centred, b.node("Sqrt", [eps])], {}, { outputNames: ["normal"] });
    const angle = b.node(
      "Mul",
      [b.node("Cast", [t], { to: 1 }), b.constant(f32Tensor([0.37], []))],
      {},
      { outputNames: ["angle"] },
    );
    const wide = b.node("Reshape", [b.node("Sin", [angle]), b.constant(i64Tensor([2, 1, 1, 1]))]);
    const up = b.node(
      "Resize",
      [b.node("Add", [normal, wide]), null, b.constant(f32Tensor([1, 1, 2, 2]), "scales")],
      { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
    );
    const w = Float32Array.from({ length: 4 * 4 * 9 }, (_, i) => Math.cos(i) / 4);
    const y = b.node(
      "Conv",
      [up, b.constant(f32Tensor(w, [4, 4, 3, 3]))],
      { pads: [1, 1, 1, 1] },
      { name: "conv" },
    );
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const before = cloneModel(model);
    const decisions = await run(model, convertFloat, { to: "f16" }, { target: target("webgpu") });
    expect(decisions[0]).toMatchObject({ kind: "skipped", rule: "range-islands" });
    expect(dtypeOfValue(model, "angle")).toBe("f32");
    expect(dtypeOfValue(model, "normal")).toBe("f32");
    expect([...model.graph.values()].find((v) => v.name === "scales")?.init?.dtype).toBe("f32");
    const conv = [...model.graph.nodes()].find((n) => n.name === "conv")!;
    expect(model.graph.constant(conv.inputs[1])?.dtype).toBe("f16");
    const steps = {
      dtype: "i64" as const,
      dims: [2],
      bytes: new Uint8Array(BigInt64Array.of(999n, 1n).buffer),
    };
    expect(await difference(before, model, { x: wave([2, 4, 3, 3]), t: steps })).toBeLessThan(HALF);
  });

  it("keeps constants that do not fit and what subgraphs read in fp32", async () => {
    const model = chain((b, x) => {
      const big = b.node(
        "Mul",
        [dense(b, x, "a"), b.constant(f32Tensor([1e6], []))],
        {},
        { outputNames: ["big"] },
      );
      const small = b.node("Add", [big, b.constant(f32Tensor([1e-7], []))]);
      return dense(b, small, "b");
    });
    const decisions = await run(model, convertFloat, compute);
    expect(decisions.find((d) => d.rule === "f32-island-constant")).toBeDefined();
    expect(dtypeOfValue(model, "big")).toBe("f32");

    const b = new ModelBuilder({ opset: 18 });
    const x = b.input("x", "f32", [4, 8]);
    const flag = b.input("flag", "bool", []);
    const a = dense(b, x, "a");
    const branch = (name: string, op: string) =>
      b.subgraph(name, (g) =>
        g.output(g.node(op, [a]), `${name}_y`, { kind: "tensor", dtype: "f32", shape: [4, 8] }),
      );
    const y = dense(
      b,
      b.node("If", [flag], { then_branch: branch("t", "Relu"), else_branch: branch("e", "Neg") }),
      "b",
    );
    const captured = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const before = cloneModel(captured);
    await run(captured, convertFloat, compute);
    expect(dtypeOfValue(captured, "a_y")).toBe("f32");
    const no = { dtype: "bool" as const, dims: [], bytes: Uint8Array.of(0) };
    expect(await difference(before, captured, { x: wave([4, 8]), flag: no })).toBeLessThan(HALF);
  });

  it("drops Casts between floats and joins Casts from integers", async () => {
    const b = new ModelBuilder({ opset: 18 });
    const t = b.input("t", "i64", [4, 8]);
    const idle = b.node("Cast", [b.node("Cast", [t], { to: 1 })], { to: 1 });
    const model = b.output(dense(b, idle, "a"), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    await run(model, convertFloat, compute);
    expect(ops(model)).toEqual(["Cast", "MatMul", "Cast"]);
    expect(attrInt([...model.graph.nodes()][0]!, "to")).toBe(10);
  });

  it("falls back where the target has no bfloat16, and records it", async () => {
    const model = chain((b, x) => dense(b, x, "a"));
    const decisions = await run(model, convertFloat, { to: "bf16" }, { target: target("qnn-htp") });
    expect(decisions[0]).toMatchObject({
      kind: "downgraded",
      from: "bf16",
      to: "f16",
      why: expect.any(String),
    });
    expect(dtypeOfValue(model, "y/f16")).toBe("f16");
  });

  it("converts normalisation operators with their parameters", async () => {
    const model = chain((b, x) =>
      b.node(
        "LayerNormalization",
        [dense(b, x, "a"), b.constant(f32Tensor(new Float32Array(8).fill(2)), "gamma")],
        { epsilon: floatAttr(1e-5) },
      ),
    );
    const before = cloneModel(model);
    await run(model, convertFloat, compute);
    expect(dtypeOfValue(model, "a_y")).toBe("f16");
    expect(await difference(before, model, { x: wave([4, 8]) })).toBeLessThan(HALF);
  });
});

describe("convert-float, storage", () => {
  const wide = (): Model =>
    chain((b, x) =>
      b.node("Add", [
        dense(b, dense(b, x, "a", 8, 128), "b", 128, 8),
        b.constant(f32Tensor(new Float32Array(8).fill(0.1)), "bias"),
      ]),
    );

  it.each(["f16", "bf16"] as const)("stores large weights in %s and computes in fp32", async (to) => {
    const model = wide();
    const before = cloneModel(model);
    const [decision] = await run(model, convertFloat, { to }, { target: target("cpu-x64") });
    expect(decision).toMatchObject({ rule: `${to}-storage`, count: 2, bytesBefore: 8192, bytesAfter: 4096 });
    expect(ops(model)).toEqual(["Cast", "MatMul", "Cast", "MatMul", "Add"]);
    expect(dtypeOfValue(model, "a_y")).toBe("f32");
    // Relative rounding of the type times sums of 128 products below 1/4.
    expect(await difference(before, model, { x: wave([4, 8]) })).toBeLessThan(to === "f16" ? 0.02 : 0.2);
  });

  it("is folded by the runtime: the optimised session equals fp32 weights of the rounded values bit for bit", async () => {
    const rt = await runtime();
    const model = wide();
    await run(model, convertFloat, { to: "f16" }, { target: target("cpu-x64") });
    const outputs = await Promise.all(
      (["disable", "all"] as const).map(async (optimize) => {
        const session = await rt.openSession(model, { optimize });
        const y = (await session.run(new Map([["x", wave([4, 8])]]))).get("y")!;
        await session.release();
        return floats(y);
      }),
    );
    expect(outputs[1]).toEqual(outputs[0]);
  });

  it("gives the same bytes every time", async () => {
    const rt = await runtime();
    const bytes: Uint8Array[] = [];
    for (let i = 0; i < 2; i++) {
      const model = wide();
      await run(model, convertFloat, compute);
      bytes.push(await encodeModel(model, rt.reader));
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});

describe("convert-float, known overflow", () => {
  const halfUnsafe = "its configuration says so";
  const model = (): Model => chain((b, x) => dense(b, x, "a"));

  it("keeps the part in fp32 and says why, unless forced", async () => {
    const kept = model();
    const setting = { peaks: {}, halfUnsafe };
    expect(await run(kept, convertFloat, compute, setting)).toMatchObject([
      { kind: "downgraded", rule: "known-overflow", why: halfUnsafe, from: "f16", to: "f32" },
    ]);
    expect(ops(kept)).toEqual(["MatMul"]);
    const forced = model();
    const [first] = await run(forced, convertFloat, { ...compute, force: true }, setting);
    expect(first).toMatchObject({ kind: "forced", rule: "known-overflow", why: halfUnsafe });
    expect(ops(forced)).toEqual(["Cast", "MatMul", "Cast"]);
  });

  it("stores it in fp16, which computes in fp32, and converts it to bfloat16", async () => {
    const stored = model();
    const storage = { to: "f16", use: "storage", minElements: 1 } as const;
    await run(stored, convertFloat, storage, { halfUnsafe });
    expect(ops(stored)).toEqual(["Cast", "MatMul"]);
    const wide = model();
    await run(wide, convertFloat, { to: "bf16", use: "compute" }, { halfUnsafe });
    expect(ops(wide)).toEqual(["Cast", "MatMul", "Cast"]);
  });
});
