import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { floatAttr } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { printGraph, tensorText } from "../../src/ir/print.ts";
import { derivedTensor, f32Tensor, i64Tensor, inlineTensor } from "../../src/ir/tensor.ts";

function sample() {
  const b = new ModelBuilder({ opset: 17, domains: { local: 1 } });
  b.func(
    "local",
    "Half",
    (f) => f.output(f.node("Mul", [f.inputOf("a", null), f.constant(f32Tensor([0.5], []))])),
    {
      defaults: new Map([["alpha", floatAttr(1)]]),
      attributes: ["beta"],
    },
  );
  const x = b.input("x", "f32", ["batch", 4]);
  const w = b.constant(f32Tensor(new Float32Array(16), [4, 4]), "w");
  const y = b.node("Gemm", [x, w, null], { transB: 1, alpha: floatAttr(2) }, { name: "gemm" });
  const flag = b.input("flag", "bool", []);
  const branch = (n: string) =>
    b.subgraph(n, (g) => g.output(g.node("Neg", [y], {}, { outputNames: [`${n}_out`] })));
  const z = b.node("If", [flag], { then_branch: branch("t"), else_branch: branch("e") }, { name: "if" });
  const h = b.node("Half", [z], {}, { domain: "local", name: "half" });
  b.output(h, "result");
  return b.build();
}

describe("printGraph", () => {
  it("is readable and stable", () => {
    const model = sample();
    const text = printGraph(model, { shapes: inferShapes(model) });
    expect(text).toBe(printGraph(model, { shapes: inferShapes(model) }));
    expect(text).toBe(`model ir 8, opsets onnx 17, local 1
graph graph
  input %x: f32[batch,4]
  input %flag: bool[]
  const %w = f32[4,4] inline
  %gemm_output: f32[batch,4] = Gemm(%x, %w, _) {alpha=2.0, transB=1}
  %if_output: f32[batch,4] = If(%flag)
    else_branch:
      %e_out: f32[batch,4] = Neg(%gemm_output)
      output %e_out: f32[batch,4]
    then_branch:
      %t_out: f32[batch,4] = Neg(%gemm_output)
      output %t_out: f32[batch,4]
  %result: f32[batch,4] = local.Half(%if_output)
  output %result: f32[batch,4]
function local.Half(beta, alpha?)
  input %a
  const %const = f32[] [0.5]
  %Mul_0_output = Mul(%a, %const)
  output %Mul_0_output
`);
  });

  it("shows declared types without inference, and takes a graph alone", () => {
    expect(printGraph(sample().graph)).toMatch(/^graph graph\n {2}input %x: f32\[batch,4\]/);
    expect(printGraph(sample().graph)).toContain("%gemm_output = Gemm");
  });

  it("summarises constants without their bytes", () => {
    const derivation = {
      kernel: "quantize",
      version: 1,
      params: null,
      inputs: [],
      outputs: [
        { dtype: "i8" as const, dims: [9, 2] },
        { dtype: "f32" as const, dims: [9] },
      ],
    };
    expect(tensorText(derivedTensor(derivation, 1))).toBe("f32[9] quantize#1");
    expect(tensorText(i64Tensor([1, -1]))).toBe("i64[2] [1, -1]");
    expect(tensorText(f32Tensor([0.1]))).toBe("f32[1] [0.1]");
    expect(tensorText(inlineTensor("i4", [2], Uint8Array.of(1)))).toBe("i4[2] inline");
    const source = { kind: "file", path: "/a/weights.bin", offset: 64, length: 16 } as const;
    expect(tensorText({ dtype: "f32", dims: [4], source })).toBe("f32[4] file");
  });

  it("writes control characters and long strings safely", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [1]);
    b.output(b.node("Resize", [x], { mode: `a\n${"b".repeat(300)}` }));
    const line = printGraph(b.build()).split("\n")[3]!;
    expect(line).toContain('mode="a\\nbbb');
    expect(line.length).toBeLessThan(220);
  });
});
