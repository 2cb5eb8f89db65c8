import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Checked, componentCheck, leaving, rejections } from "../../src/compile/checked.ts";
import { compile, type TargetReport } from "../../src/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model } from "../../src/ir/graph.ts";
import { writeModel } from "../../src/ir/onnx/index.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import type { CheckFinding, NodeVerdict } from "../../src/targets/check/types.ts";
import { runtime } from "../passes/harness.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-findings-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A graph that was half precision before anybody asked: a product of ones reaches `peak` and is scaled down again. */
function half(peak: number): Model {
  const b = new ModelBuilder({ opset: 17, name: "half" });
  const x = b.input("x", "f32", [2, 16]);
  const k = (values: readonly number[], dims: readonly number[]) =>
    b.constant(castTensor(f32Tensor(values, dims), "f16"));
  const ones = b.node("Add", [
    b.node("Mul", [b.node("Cast", [x], { to: 10 }), k([0], [])]),
    k(new Array<number>(16).fill(1), [16]),
  ]);
  const product = b.node(
    "MatMul",
    [ones, k(new Array<number>(64).fill(peak / 16), [16, 4])],
    {},
    { name: "planted" },
  );
  const down = b.node("Mul", [product, k([1 / 1024], [])]);
  return b.output(b.node("Cast", [down], { to: 1 }), "y", tensorType("f32", [2, 4])).build();
}

async function findings(peak: number) {
  const source = join(dir, `${peak}.onnx`);
  await writeModel(half(peak), source, { reader: (await runtime()).reader });
  const { report } = await compile(source, {
    out: join(dir, `out-${peak}`),
    preset: "fp16",
    targets: ["webgpu"],
    verify: false,
  });
  return report.targets["webgpu"]!.checks.flatMap((c) => c.findings).filter((f) => f.rule === "FP16-1");
}

describe("values over the largest half", () => {
  it("that calibration saw are findings of the build, under the names it was written with", async () => {
    expect(await findings(150_000)).toMatchObject([
      { severity: "numeric", nodes: [expect.any(String)], why: expect.stringMatching(/reaches 150\d{3}/) },
    ]);
    expect(await findings(1500)).toEqual([]);
  });
});

const verdicts = (why: string): NodeVerdict[] => [
  { node: "a", op: "Sin", verdict: "leaves", why },
  { node: "b", op: "Conv", verdict: "quantized", why: null },
];
const fault: CheckFinding = { rule: "X-1", severity: "reject", node: "a", op: "Sin", why: "refused" };

function checked(graph: string, why: string, found: readonly CheckFinding[]): Checked {
  return {
    component: "unet",
    graph,
    check: {
      target: "t",
      findings: found,
      counts: { reject: found.length, slow: 0, numeric: 0 },
      nodes: verdicts(why),
      verdicts: { quantized: 1, float: 0, leaves: 1 },
      partitions: 1,
      flops: null,
      estimate: null,
    },
  };
}

describe("graphs of one component", () => {
  it("tell what they share once, and each what it has alone", () => {
    const same = [
      checked("model.b0.onnx", "no kernel", [fault]),
      checked("model.b1.onnx", "no kernel", [fault]),
    ];
    expect(leaving(same)).toEqual([{ component: "unet", node: "a", op: "Sin", why: "no kernel" }]);
    const report = (of: readonly Checked[]): ReadonlyMap<string, TargetReport> =>
      new Map([["t", { checks: of.map(componentCheck) } as unknown as TargetReport]]);
    expect(rejections(report(same))).toHaveLength(1);
    const other = checked("model.b1.onnx", "open shape", [fault, { ...fault, node: "b", op: "Conv" }]);
    const apart = [same[0]!, other];
    expect(leaving(apart).map((n) => n.why)).toEqual(["no kernel", "open shape"]);
    expect(rejections(report(apart)).map((d) => d.message)).toHaveLength(2);
    expect(componentCheck(other)).toMatchObject({
      graph: "model.b1.onnx",
      findings: [{ nodes: ["a", "b"] }],
    });
  });
});
