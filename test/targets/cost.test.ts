import { describe, expect, it } from "vitest";
import { fixture } from "../../fixtures/build/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { nodeCost } from "../../src/ir/ops/index.ts";
import type { NodeId } from "../../src/ir/graph.ts";
import { f32Tensor, inlineTensor } from "../../src/ir/tensor.ts";
import { CPU_RATES, costKind, cpuCost } from "../../src/targets/cost/cpu.ts";
import { rooflineCost } from "../../src/targets/cost/roofline.ts";
import { target } from "../../src/targets/index.ts";
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

  it("gives the CPU cost table node by node on its descriptor's machine", () => {
    const m = model(2);
    const [a, b] = [cpuCost(m), rooflineCost(m, cpu)!];
    for (const [id, seconds] of a.nodes) expect(b.nodes.get(id)!.seconds).toBeCloseTo(seconds, 12);
    expect(b.seconds).toBeCloseTo(a.seconds, 12);
    const unet = fixture("tiny-unet");
    const [c, d] = [
      cpuCost(unet.build(), { bindings: unet.dims }),
      rooflineCost(unet.build(), cpu, { bindings: unet.dims })!,
    ];
    expect(d.nodes.size).toBeGreaterThan(100);
    for (const [id, e] of d.nodes) expect(e.seconds).toBeCloseTo(c.nodes.get(id)!, 12);
  });

  it("says what bounds each node", () => {
    const m = model(1);
    const found = rooflineCost(m, cpu)!;
    const bounds = [...m.graph.nodes()].map((n) => [n.name, found.nodes.get(n.id)!.bound]);
    expect(bounds).toEqual([
      ["conv", "arithmetic"],
      ["relu", "memory"],
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

describe("cpuCost", () => {
  it("tells kinds of work apart", () => {
    const m = model(1);
    const shapes = inferShapes(m);
    const kinds = [...m.graph.nodes()].map((n) => [n.name, costKind(n, nodeCost(n, shapes)!, shapes)]);
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
    const cost = cpuCost(m);
    const byName = new Map([...m.graph.nodes()].map((n) => [n.name, cost.nodes.get(n.id)!]));
    const flops = 2 * 64 * 64 * 9 * 32 * 32;
    expect(byName.get("conv")).toBeCloseTo(CPU_RATES.overhead + flops / CPU_RATES.product, 6);
    const bytes = 2 * 64 * 32 * 32 * 4;
    expect(byName.get("move")).toBeCloseTo(CPU_RATES.overhead + bytes / CPU_RATES.bandwidth, 8);
    expect(byName.get("view")).toBe(CPU_RATES.overhead);
    expect(cost.seconds).toBeCloseTo(
      [...byName.values()].reduce((a, b) => a + b, 0),
      12,
    );
  });

  it("takes symbolic lengths from bindings, and counts nothing for nodes that stay open", () => {
    const open = cpuCost(model("n"));
    expect(open.open).toHaveLength(5);
    expect(open.seconds).toBe(0);
    const [one, four] = [
      cpuCost(model("n"), { bindings: { n: 1 } }),
      cpuCost(model("n"), { bindings: { n: 4 } }),
    ];
    expect(one.open).toEqual([]);
    expect(four.seconds / one.seconds).toBeGreaterThan(3);
  });
});
