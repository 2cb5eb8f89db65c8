import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { type Model, subgraphs } from "../../../src/ir/graph.ts";
import { OPS } from "../../../src/ir/ops/index.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { convertOpset, stampedIrVersion } from "../../../src/passes/legalise/convert-opset.ts";
import { stepTo } from "../../../src/passes/legalise/opset/table.ts";
import { target } from "../../../src/targets/index.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";
import { OPSET_CASES, type OpsetCase } from "./opset-cases.ts";

/** Float32 rounding of a handful of operations on numbers of magnitude 1. */
const EXACT = 1e-6;

/** onnxruntime has no kernel for GroupNormalization-18 of its own opset but inlines both versions. */
const TO = 21;

function build(c: OpsetCase): Model {
  const b = new ModelBuilder({ opset: c.from, irVersion: 7 });
  const x = b.input("x", "f32", [...c.dims]);
  return b.output(c.make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

describe("convert-opset", () => {
  it.each(OPSET_CASES)("$name", async (c) => {
    const before = build(c);
    const model = cloneModel(before);
    const decisions = await run(model, convertOpset, { opset: TO });
    expect(decisions.filter((d) => d.kind === "skipped")).toEqual([]);
    expect(model.opsets.get("")).toBe(TO);
    expect(model.irVersion).toBe(10);
    if (c.after !== undefined) expect(ops(model)).toEqual(c.after);
    expect(await difference(before, model, { x: wave(c.dims) })).toBeLessThan(EXACT);
  });

  it("knows what every version of every operator changed", () => {
    const unknown = OPS.filter((s) => s.domain === "").flatMap((s) =>
      s.versions
        .filter((v, i) => i > 0 && v > 7 && v <= 26 && stepTo(s.op, v) === undefined)
        .map((v) => `${s.op}-${v}`),
    );
    expect(unknown).toEqual([]);
  });

  it("converts subgraphs with the graph", async () => {
    const b = new ModelBuilder({ opset: 12, irVersion: 8 });
    const x = b.input("x", "f32", [2, 3]);
    const flag = b.input("flag", "bool", []);
    const branch = (name: string, axis: number) =>
      b.subgraph(name, (g) =>
        g.output(g.node("ReduceSum", [x], { axes: [axis], keepdims: 0 }), `${name}_y`, {
          kind: "tensor",
          dtype: "f32",
          shape: null,
        }),
      );
    const y = b.node("If", [flag], { then_branch: branch("then", 0), else_branch: branch("else", 1) });
    const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const before = cloneModel(model);
    await run(model, convertOpset, { opset: TO });
    const inner = [...model.graph.nodes()].flatMap((n) => subgraphs(n)).flatMap((g) => [...g.nodes()]);
    expect(inner.map((n) => n.attrs.has("axes"))).toEqual([false, false]);
    const no = { dtype: "bool" as const, dims: [], bytes: Uint8Array.of(0) };
    expect(await difference(before, model, { x: wave([2, 3]), flag: no })).toBeLessThan(EXACT);
  });

  it.each([
    { name: "an unknown operator", from: 17, op: "Mystery", attrs: {}, why: /unknown/ },
    { name: "spatial batch norm", from: 7, op: "BatchNormalization", attrs: { spatial: 0 }, why: /spatial/ },
    {
      name: "a fractional nearest shrink",
      from: 10,
      op: "Resize",
      attrs: { mode: "nearest" },
      why: /fraction/,
    },
    {
      name: "a removed coordinate mode",
      from: 11,
      op: "Resize",
      attrs: { coordinate_transformation_mode: "tf_half_pixel_for_nn" },
      why: /removed in opset 13/,
    },
  ])("changes nothing when $name is in the way", async ({ from, op, attrs, why }) => {
    const b = new ModelBuilder({ opset: from });
    const x = b.input("x", "f32", [1, 3, 6, 6]);
    const scales = b.constant(f32Tensor([1, 1, 0.4, 0.4]));
    const inputs =
      op === "Resize"
        ? from === 10
          ? [x, scales]
          : [x, b.constant(f32Tensor([])), scales]
        : [x, ...[0, 1, 2, 3].map(() => b.constant(f32Tensor([1, 2, 3])))];
    const reduced = b.node("ReduceSum", [b.node(op, inputs, attrs)], { axes: [1] });
    const model = b.output(reduced, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const decisions = await run(model, convertOpset, { opset: TO });
    expect(decisions.find((d) => d.rule === "opset")).toMatchObject({
      kind: "skipped",
      why: expect.stringMatching(why),
    });
    expect(model.opsets.get("")).toBe(from);
    expect([...model.graph.nodes()][1]!.attrs.has("axes")).toBe(true);
  });

  it("leaves newer models, and refuses what the target cannot load", async () => {
    const at = (opset: number): Model => {
      const b = new ModelBuilder({ opset });
      return b
        .output(b.node("Relu", [b.input("x", "f32", [2])]), "y", { kind: "tensor", dtype: "f32", shape: [2] })
        .build();
    };
    const model = at(22);
    await run(model, convertOpset, {}, { target: target("cpu-x64") });
    expect(model.opsets.get("")).toBe(22);
    await expect(run(at(22), convertOpset, {}, { target: target("qnn-htp") })).rejects.toMatchObject({
      code: "TARGET_OPSET_UNSUPPORTED",
    });
  });

  it("stamps the IR version released with the opset, never a newer one", () => {
    const model = new ModelBuilder({ opset: 17 }).build();
    expect([7, 17, 19, 21, 23, 24, 25].map((o) => stampedIrVersion(model, o))).toEqual([
      3, 8, 9, 10, 11, 12, 13,
    ]);
  });
});
