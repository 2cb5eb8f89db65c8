import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { spellOps } from "../../../src/passes/legalise/spell-ops.ts";
import { storeShapes } from "../../../src/passes/legalise/store-shapes.ts";
import { target } from "../../../src/targets/index.ts";
import { LOWERINGS } from "../../../src/targets/lower/index.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";

/** Rounding of a norm or softmax over a few dozen float32 numbers; GELU approximations agree to the same. */
const EXACT = 3e-6;

interface Case {
  readonly op: string;
  readonly opset: number;
  readonly inputs: readonly (readonly number[])[];
  make(b: ModelBuilder, x: readonly ValueId[]): ValueId;
}

const vector = (b: ModelBuilder, n: number, from: number): ValueId =>
  b.constant(f32Tensor(Float32Array.from({ length: n }, (_, i) => from + i / 8)));
const CONTRIB = { domain: "com.microsoft" };

/** Every operator of the table, in a form onnxruntime's CPU provider runs itself. */
const CASES: readonly Case[] = [
  {
    op: "GroupNormalization",
    opset: 21,
    inputs: [[2, 4, 3, 3]],
    make: (b, [x]) =>
      b.node("GroupNormalization", [x!, vector(b, 4, 0.5), vector(b, 4, -0.2)], {
        num_groups: 2,
        epsilon: floatAttr(1e-3),
      }),
  },
  {
    op: "LayerNormalization",
    opset: 17,
    inputs: [[2, 3, 8]],
    make: (b, [x]) => b.node("LayerNormalization", [x!, vector(b, 8, 0.5), vector(b, 8, -0.2)], { axis: -1 }),
  },
  {
    op: "LayerNormalization",
    opset: 21,
    inputs: [[2, 3, 4]],
    make: (b, [x]) =>
      b.node("LayerNormalization", [x!, b.constant(f32Tensor(new Float32Array(12).fill(0.7), [3, 4]))], {
        axis: 1,
      }),
  },
  {
    op: "RMSNormalization",
    opset: 23,
    inputs: [[2, 3, 8]],
    make: (b, [x]) => b.node("RMSNormalization", [x!, vector(b, 8, 0.5)]),
  },
  { op: "Gelu", opset: 20, inputs: [[4, 8]], make: (b, [x]) => b.node("Gelu", [x!]) },
  {
    op: "Gelu",
    opset: 20,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("Gelu", [x!], { approximate: "tanh" }),
  },
  {
    op: "com.microsoft:Gelu",
    opset: 20,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("Gelu", [x!], {}, CONTRIB),
  },
  {
    op: "com.microsoft:FastGelu",
    opset: 17,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("FastGelu", [x!, vector(b, 8, 0)], {}, CONTRIB),
  },
  {
    op: "com.microsoft:QuickGelu",
    opset: 17,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("QuickGelu", [x!], { alpha: floatAttr(1.702) }, CONTRIB),
  },
  {
    op: "com.microsoft:QuickGelu",
    opset: 17,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("QuickGelu", [x!], { alpha: floatAttr(1) }, CONTRIB),
  },
  {
    op: "Swish",
    opset: 24,
    inputs: [[4, 8]],
    make: (b, [x]) => b.node("Swish", [x!], { alpha: floatAttr(1.5) }),
  },
  {
    op: "Attention",
    opset: 23,
    inputs: [
      [2, 5, 8],
      [2, 3, 8],
      [2, 3, 8],
    ],
    make: (b, x) => b.node("Attention", x, { q_num_heads: 2, kv_num_heads: 2 }),
  },
  {
    op: "Attention",
    opset: 23,
    inputs: [
      [2, 2, 5, 4],
      [2, 2, 3, 4],
      [2, 2, 3, 4],
      [5, 3],
    ],
    make: (b, x) => b.node("Attention", x, { scale: floatAttr(0.3) }),
  },
  {
    op: "com.microsoft:MultiHeadAttention",
    opset: 17,
    inputs: [
      [2, 5, 8],
      [2, 3, 8],
      [2, 3, 8],
    ],
    make: (b, x) => b.node("MultiHeadAttention", x, { num_heads: 2 }, CONTRIB),
  },
  {
    op: "com.microsoft:MultiHeadAttention",
    opset: 17,
    inputs: [
      [2, 5, 8],
      [2, 3, 8],
      [2, 3, 8],
      [2, 2, 5, 3],
    ],
    make: (b, [q, k, v, m]) =>
      b.node(
        "MultiHeadAttention",
        [q!, k!, v!, null, null, m!],
        { num_heads: 2, scale: floatAttr(0.2) },
        CONTRIB,
      ),
  },
];

function build(c: Case): Model {
  const b = new ModelBuilder({ opset: c.opset, domains: { "com.microsoft": 1 } });
  const inputs = c.inputs.map((dims, i) => b.input(`x${i}`, "f32", [...dims]));
  return b.output(c.make(b, inputs), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const feeds = (c: Case) => Object.fromEntries(c.inputs.map((dims, i) => [`x${i}`, wave(dims, i)]));

const variants = CASES.flatMap((c, i) => {
  const row = LOWERINGS.find((r) => r.op === c.op)!;
  // Another form of the same operator depends on the target: spell-attention.test.ts.
  const others = Object.keys(row.to).filter((to) => to.replace("com.microsoft.", "com.microsoft:") !== c.op);
  return others.map((to) => ({ c, row, to, name: `${c.op} (${i}) as ${to}` }));
});

describe("spell-ops", () => {
  it("has a case for every operator it rewrites that runs here; the others are held against evaluators beside twins", () => {
    const absent = new Set(target("cpu-x64").limits.noKernel);
    const here = LOWERINGS.map((r) => r.op).filter((op) => !absent.has(op));
    expect(new Set(CASES.map((c) => c.op))).toEqual(new Set(here));
    expect(LOWERINGS.filter((r) => absent.has(r.op)).map((r) => r.op)).toEqual([
      "com.microsoft:GroupNorm",
      "com.microsoft:BiasSplitGelu",
    ]);
  });

  it.each(variants)("writes $name with the same result", async ({ c, row, to }) => {
    const before = build(c);
    const model = cloneModel(before);
    const decisions = await run(model, spellOps, { [row.capability]: to });
    expect(decisions).toEqual([{ node: "", kind: "applied", rule: "spell", from: c.op, to, count: 1 }]);
    expect(ops(model)).not.toContain(c.op);
    expect(await difference(before, model, feeds(c))).toBeLessThan(EXACT);
  });

  it("leaves alone what it cannot write, with the reason", async () => {
    const b = new ModelBuilder({ opset: 23 });
    const x = b.input("x", "f32", [1, 2, 3, 4]);
    const y = b.node("Attention", [x, x, x], { is_causal: 1 });
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const [decision] = await run(model, spellOps, { attention: "decomposed" });
    expect(decision).toMatchObject({
      kind: "skipped",
      rule: "spell-attention",
      why: expect.stringMatching(/causal/),
    });
    expect(ops(model)).toEqual(["Attention"]);
  });

  it("takes the spelling from the target", async () => {
    const model = build(CASES[0]!);
    await run(model, spellOps, {}, { target: target("webgpu") });
    expect(ops(model)).toContain("InstanceNormalization");
    const kept = build(CASES[0]!);
    await run(kept, spellOps, {}, { target: target("qnn-htp") });
    expect(ops(kept)).toEqual(["GroupNormalization"]);
  });
});

describe("store-shapes", () => {
  const chain = (batch: number | string): Model => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [batch, 4]);
    const y = b.node("Relu", [b.node("MatMul", [x, b.constant(f32Tensor(new Float32Array(8), [4, 2]))])]);
    return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [batch, 2] }).build();
  };

  it("stores the inferred type of every value", async () => {
    const model = chain(3);
    const decisions = await run(model, storeShapes, { strict: true }, { target: target("qnn-htp") });
    expect(decisions).toEqual([{ node: "", kind: "applied", rule: "value-info", count: 1 }]);
    const types = [...model.graph.values()].filter((v) => v.producer !== null).map((v) => v.type);
    expect(types).toEqual([
      { kind: "tensor", dtype: "f32", shape: [3, 2] },
      { kind: "tensor", dtype: "f32", shape: [3, 2] },
    ]);
  });

  it("stops at a symbolic input of a static target only", async () => {
    await expect(
      run(chain("batch"), storeShapes, { strict: true }, { target: target("qnn-htp") }),
    ).rejects.toMatchObject({
      code: "TARGET_SHAPE_DYNAMIC",
      diagnostic: { details: { target: "qnn-htp", value: "x", shape: "[batch, 4]", symbols: ["batch"] } },
    });
    expect(await run(chain("batch"), storeShapes, { strict: true }, { target: target("webgpu") })).toEqual(
      [],
    );
  });

  it("names values that stay dynamic and ranks above the limit", async () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [2, 3]);
    const six = b.node(
      "Reshape",
      [x, b.constant(i64Tensor([1, 1, 1, 1, 2, 3]))],
      {},
      { outputNames: ["six"] },
    );
    const where = b.node("NonZero", [six], {}, { outputNames: ["where"] });
    const model = b.output(where, undefined, { kind: "tensor", dtype: "i64", shape: null }).build();
    const decisions = await run(model, storeShapes, {}, { target: target("qnn-htp") });
    expect(decisions.map((d) => [d.node, d.rule])).toEqual([
      ["six", "rank"],
      ["where", "static-shape"],
      ["", "value-info"],
    ]);
    expect(inferShapes(model).staticShape(six)).toEqual([1, 1, 1, 1, 2, 3]);
  });
});
