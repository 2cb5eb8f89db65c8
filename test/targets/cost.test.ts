import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { nodeCost } from "../../src/ir/ops/index.ts";
import type { NodeId, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor, inlineTensor } from "../../src/ir/tensor.ts";
import { basisOf } from "../../src/targets/cost/basis.ts";
import { costKind } from "../../src/targets/cost/kind.ts";
import { productRate } from "../../src/targets/cost/node.ts";
import { rooflineCost } from "../../src/targets/cost/roofline.ts";
import { target, targetNames } from "../../src/targets/index.ts";
import { AVX2_CORE } from "../../src/targets/machines/x64.ts";
import type { Target } from "../../src/targets/target.ts";

function model(batch: number | string) {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [batch, 64, 32, 32]);
  const w = b.constant(f32Tensor(new Float32Array(64 * 64 * 9), [64, 64, 3, 3]));
  const conv = b.node("Conv", [x, w], { pads: [1, 1, 1, 1] }, { name: "conv" });
  const moved = b.node(
    "Transpose",
    [b.node("Relu", [conv], {}, { name: "relu" })],
    { perm: [0, 2, 3, 1] },
    { name: "move" },
  );
  const flat = b.node("Flatten", [moved], {}, { name: "view" });
  const mean = b.node("ReduceMean", [flat], { axes: [1] }, { name: "mean" });
  return b.output(mean, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

describe("rooflineCost", () => {
  const cpu = target("cpu-x64");

  it("says what bounds each node", () => {
    const m = model(1);
    const found = rooflineCost(m, cpu)!;
    const bounds = [...m.graph.nodes()].map((n) => [n.name, found.nodes.get(n.id)!.bound]);
    expect(bounds).toEqual([
      ["conv", "arithmetic"],
      ["relu", "arithmetic"],
      ["move", "memory"],
      ["view", "overhead"],
      ["mean", "memory"],
    ]);
    expect(found.flops).toEqual(new Map([["f32", 2 * 64 * 64 * 9 * 32 * 32]]));
  });

  it("counts nothing for what runtimes fold when they load a model, and integers behind DequantizeLinear as such", () => {
    const b = new ModelBuilder({ opset: 21 });
    const x = b.input("x", "f32", [1, 64]);
    const one = b.constant(f32Tensor([1], []));
    const zero = b.constant(inlineTensor("u8", [], new Uint8Array(1)));
    const q = b.node("QuantizeLinear", [x, one, zero], {}, { name: "q" });
    const dq = b.node("DequantizeLinear", [q, one, zero], {}, { name: "dq" });
    const stored = b.constant(inlineTensor("i8", [64, 64], new Uint8Array(64 * 64)));
    const w = b.node("Cast", [stored], { to: 1 }, { name: "widen" });
    const y = b.node("MatMul", [dq, w], {}, { name: "product" });
    const m = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const names = (found: { nodes: ReadonlyMap<NodeId, unknown> }): string[] =>
      [...found.nodes.keys()].map((id) => m.graph.node(id).name);
    const npu = rooflineCost(m, target("qnn-htp"))!;
    expect(names(npu)).toEqual(["product"]);
    expect(npu.flops).toEqual(new Map([["i8", 2 * 64 * 64]]));
    expect(npu.uncounted).toEqual([]);
    expect(names(rooflineCost(m, cpu)!)).toEqual(["q", "dq", "product"]);
  });

  it("takes the next wider type where a rate is missing, and says where there is none", () => {
    const b = new ModelBuilder({ opset: 21 });
    const x = b.input("x", "f16", [512, 512]);
    const w = b.constant(inlineTensor("f16", [512, 512], new Uint8Array(2 * 512 * 512)));
    const m = b.output(b.node("MatMul", [x, w]), "y", { kind: "tensor", dtype: "f16", shape: null }).build();
    const gpu = target("webgpu");
    const flops = 2 * 512 ** 3;
    const slow: Target = { ...gpu, machine: { ...gpu.machine!, flops: { f32: 1e9 } } };
    expect(rooflineCost(m, slow)!.seconds).toBeCloseTo(gpu.machine!.overhead.node + flops / 1e9, 9);
    expect(rooflineCost(m, target("qnn-htp"))!.uncounted).toEqual(["f16"]);
    const { machine: _, ...bare } = gpu;
    expect(rooflineCost(m, bare)).toBeNull();
  });
});

describe("rooflineCost on the measured processor", () => {
  const cpu = target("cpu-x64");
  const named = (m: ReturnType<typeof model>): ReadonlyMap<string, number> => {
    const { nodes } = rooflineCost(m, cpu)!;
    return new Map([...m.graph.nodes()].map((n) => [n.name, nodes.get(n.id)!.seconds]));
  };

  it("tells kinds of work apart", () => {
    const m = model(1);
    const shapes = inferShapes(m);
    const kinds = [...m.graph.nodes()].map((n) => [n.name, costKind(n, nodeCost(n, shapes)!)]);
    expect(kinds).toEqual([
      ["conv", "product"],
      ["relu", "pointwise"],
      ["move", "move"],
      ["view", "view"],
      ["mean", "statistics"],
    ]);
  });

  it("is overhead plus the longer of arithmetic and memory", () => {
    const m = model(1);
    const byName = named(m);
    const flops = 2 * 64 * 64 * 9 * 32 * 32;
    const { overhead, bandwidth } = AVX2_CORE;
    expect(byName.get("conv")).toBeCloseTo(overhead.node + flops / AVX2_CORE.flops.f32!, 9);
    const bytes = 2 * 64 * 32 * 32 * 4;
    expect(byName.get("move")).toBeCloseTo(overhead.node + bytes / bandwidth, 9);
    expect(byName.get("view")).toBe(overhead.view);
    expect(rooflineCost(m, cpu)!.seconds).toBeCloseTo(
      [...byName.values()].reduce((a, b) => a + b, 0),
      12,
    );
  });

  it("reads weights slower than activations, and starts fused attention with several kernels", () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [1, 1024]);
    const w = b.constant(f32Tensor(new Float32Array(1024 * 1024), [1024, 1024]));
    const y = b.node("MatMul", [x, w], {}, { name: "thin" });
    const row = b.input("row", "f32", [1, 1, 64]);
    const fused = b.node(
      "MultiHeadAttention",
      [row, row, row],
      { num_heads: 1 },
      { domain: "com.microsoft", name: "fused" },
    );
    b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [1, 1024] });
    const m = b.output(fused, "z", { kind: "tensor", dtype: "f32", shape: [1, 1, 64] }).build();
    const byName = named(m);
    const { overhead, bandwidth, weightBandwidth } = AVX2_CORE;
    const read = (4 * 1024 * 1024) / weightBandwidth! + (8 * 1024) / bandwidth;
    expect(byName.get("thin")).toBeCloseTo(overhead.node + read, 9);
    expect(byName.get("fused")).toBeGreaterThan(overhead.attention!);
    expect(byName.get("fused")).toBeLessThan(overhead.attention! + 1e-6);
    const gpu = rooflineCost(m, target("cuda"))!;
    const thin = [...gpu.nodes.values()][0]!;
    expect(thin.seconds).toBeCloseTo(thin.bytes / target("cuda").machine!.bandwidth, 12);
  });

  it("adds what each row of a layer normalisation takes", () => {
    const normalised = (rows: number, width: number): number => {
      const b = new ModelBuilder({ opset: 17 });
      const x = b.input("x", "f32", [rows, width]);
      const one = b.constant(f32Tensor(new Float32Array(width).fill(1), [width]));
      const y = b.node("LayerNormalization", [x, one], {}, { name: "norm" });
      const m = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [rows, width] }).build();
      return named(m).get("norm")!;
    };
    const more = normalised(128, 64) - normalised(64, 128);
    expect(more).toBeCloseTo(64 * AVX2_CORE.overhead.row!, 9);
  });

  it("takes symbolic lengths from bindings, and counts nothing for nodes that stay open", () => {
    const open = rooflineCost(model("n"), cpu)!;
    expect(open.open).toHaveLength(5);
    expect(open.seconds).toBe(0);
    const [one, four] = [1, 4].map((n) => rooflineCost(model("n"), cpu, { bindings: { n } })!);
    expect(one!.open).toEqual([]);
    expect(four!.seconds / one!.seconds).toBeGreaterThan(3);
  });

  it("multiplies integers in dynamic products and adds the conversion of their input", () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [256, 512]);
    const w = b.constant(inlineTensor("i8", [512, 512], new Uint8Array(512 * 512)));
    const scale = b.constant(f32Tensor(new Float32Array(512), [512]));
    const y = b.node("DynamicQuantizeMatMul", [x, w, scale], {}, { domain: "com.microsoft" });
    const m = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [256, 512] }).build();
    const flops = 2 * 256 * 512 * 512;
    const found = rooflineCost(m, cpu)!;
    expect(found.flops).toEqual(new Map([["i8", flops]]));
    const expected =
      AVX2_CORE.overhead.node + flops / AVX2_CORE.flops.i8! + 2 * 256 * 512 * AVX2_CORE.convert8!;
    expect(found.seconds).toBeCloseTo(expected, 9);
  });
});

describe("machines", () => {
  const all = targetNames.map((id) => ({ id, machine: target(id).machine }));

  it.each(all)(
    "$id has one with positive rates, and a rate for fp32 or a reason to read",
    ({ id, machine }) => {
      expect(machine).toBeDefined();
      for (const rate of [...Object.values(machine!.flops), machine!.bandwidth])
        expect(rate).toBeGreaterThan(1e9);
      expect(machine!.overhead.node).toBeGreaterThanOrEqual(machine!.overhead.view);
      if (productRate(machine!, "f32") === null)
        expect(target(id).sources.some((s) => s.field === "machine" && s.claim.includes("counted"))).toBe(
          true,
        );
    },
  );

  it.each(all)("$id: narrower operands are never slower", ({ machine }) => {
    const rates = (["f32", "f16", "i8"] as const).map((d) => productRate(machine!, d));
    const known = rates.filter((r) => r !== null);
    expect(known).toEqual([...known].sort((a, b) => a - b));
  });

  it("variants differ where their rates do, and say what is taken over", () => {
    const names = ["avx2", "avx512-vnni", "amx"].map((v) => target(`cpu-x64:${v}`).machine!);
    const int8 = names.map((m) => m.flops.i8!);
    expect(int8).toEqual([...int8].sort((a, b) => a - b));
    expect(new Set(int8).size).toBe(3);
    expect(names.map((m) => m.basis)).toEqual(["measured", "mixed", "mixed"]);
    expect(basisOf(names[2]!, [])).toMatch(/AMX: published peaks of products, all else as measured/);
    expect(basisOf(target("qnn-htp").machine!, ["f16"])).toMatch(/lower bound.*f16 is not counted/);
  });
});

describe("rooflineCost where the compiler takes Q/DQ for types", () => {
  /** x → layer by a stored weight → y, with Q/DQ around the layer. */
  function pair(around: boolean) {
    const b = new ModelBuilder({ opset: 21 });
    const x = b.input("x", "f32", [64, 256]);
    const one = b.constant(f32Tensor([1], []));
    const zero = b.constant(inlineTensor("i8", [], new Uint8Array(1)));
    const dq = (v: ValueId, name: string): ValueId =>
      b.node("DequantizeLinear", [v, one, zero], {}, { name });
    const first = b.node("Relu", [x], {}, { name: "first" });
    const read = around ? dq(b.node("QuantizeLinear", [first, one, zero], {}, { name: "q" }), "dq") : first;
    const stored = b.constant(inlineTensor("i8", [256, 256], new Uint8Array(256 * 256)));
    const y = b.node("MatMul", [read, dq(stored, "dqw")], {}, { name: "product" });
    return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [64, 256] }).build();
  }

  it("reads and writes the narrow types", () => {
    const bytes = (m: ReturnType<typeof pair>): Record<string, number> => {
      const { nodes } = rooflineCost(m, target("tensorrt"))!;
      return Object.fromEntries([...nodes].map(([id, e]) => [m.graph.node(id).name, e.bytes]));
    };
    const [wide, weight, parameters] = [64 * 256 * 4, 256 * 256, 5];
    expect(bytes(pair(false))).toEqual({
      first: 2 * wide,
      product: wide + weight + parameters + wide,
    });
    expect(bytes(pair(true))).toEqual({
      first: wide + wide / 4,
      product: wide / 4 + parameters + weight + parameters + wide,
    });
  });

  it("leaves them where they are operators", () => {
    const m = pair(true);
    const { nodes } = rooflineCost(m, target("cuda"))!;
    expect([...nodes.keys()].map((id) => m.graph.node(id).name).sort()).toEqual([
      "dq",
      "dqw",
      "first",
      "product",
      "q",
    ]);
  });
});
