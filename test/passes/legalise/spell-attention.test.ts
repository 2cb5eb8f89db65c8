import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { spellOps } from "../../../src/passes/legalise/spell-ops.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { CPU_LIMITS } from "../../../src/targets/cpu-limits.ts";
import { target } from "../../../src/targets/index.ts";
import { plainTwin } from "../../../src/targets/twin.ts";
import { run } from "../../targets/harness.ts";
import { difference, floats, ops, wave } from "../harness.ts";

const IMPORTER = target("tensorrt:11.x");
const EXACT = 2e-6;

type Make = (b: ModelBuilder, x: readonly ValueId[]) => ValueId;

function model(inputs: readonly (readonly number[])[], make: Make): Model {
  const b = new ModelBuilder({ opset: 23, domains: { "com.microsoft": 1 } });
  const x = inputs.map((dims, i) => b.input(`x${i}`, "f32", [...dims]));
  return b.output(make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}
const feeds = (inputs: readonly (readonly number[])[]) =>
  Object.fromEntries(inputs.map((dims, i) => [`x${i}`, wave(dims, i)]));

const TOKENS = [
  [2, 5, 8],
  [2, 3, 8],
  [2, 3, 8],
];
const HEADS = [
  [2, 2, 5, 4],
  [2, 2, 3, 4],
  [2, 2, 3, 4],
];
const both = { q_num_heads: 2, kv_num_heads: 2 };
const mask = (b: ModelBuilder, dims: number[]): ValueId =>
  b.constant(f32Tensor(floats(wave(dims, 7)), dims), "mask");

describe("the standard Attention for an importer that wants four axes", () => {
  it.each<{ what: string; inputs: number[][]; make: Make }>([
    { what: "tokens", inputs: TOKENS, make: (b, x) => b.node("Attention", [...x], both) },
    {
      what: "tokens with a scale and a mask of two axes",
      inputs: TOKENS,
      make: (b, x) => b.node("Attention", [...x, mask(b, [5, 3])], { ...both, scale: floatAttr(0.3) }),
    },
    {
      what: "grouped heads",
      inputs: [[2, 5, 16], ...TOKENS.slice(1)],
      make: (b, x) => b.node("Attention", [...x], { q_num_heads: 4, kv_num_heads: 2 }),
    },
    {
      what: "a causal mask",
      inputs: [[2, 3, 8], ...TOKENS.slice(1)],
      make: (b, x) => b.node("Attention", [...x], { ...both, is_causal: 1 }),
    },
    {
      what: "heads with a mask of three axes",
      inputs: HEADS,
      make: (b, x) => b.node("Attention", [...x, mask(b, [2, 5, 3])], {}),
    },
  ])("splits heads of $what", async ({ inputs, make }) => {
    const before = model(inputs, make);
    const [found] = await checkModel(before, [IMPORTER]);
    expect(found!.findings.some((f) => f.rule === "TRT-3")).toBe(true);
    const got = cloneModel(before);
    expect(await run(got, spellOps, {}, { target: IMPORTER })).toMatchObject([{ kind: "applied" }]);
    const [checked] = await checkModel(got, [IMPORTER]);
    expect(checked!.findings.filter((f) => f.severity === "reject")).toEqual([]);
    const node = [...got.graph.nodes()].find((n) => n.op === "Attention")!;
    const shapes = inferShapes(got);
    for (const id of node.inputs) expect(shapes.shape(id!)).toHaveLength(4);
    expect(await difference(before, got, feeds(inputs))).toBeLessThan(EXACT);
  });
  it("stays as it is where it has them, and for targets that take either form", async () => {
    const apart = model(HEADS, (b, x) => b.node("Attention", [...x], {}));
    expect(await run(apart, spellOps, {}, { target: IMPORTER })).toEqual([]);
    const tokens = model(TOKENS, (b, x) => b.node("Attention", [...x], both));
    expect(await run(tokens, spellOps, { attention: "Attention" })).toEqual([]);
    expect(ops(tokens)).toEqual(["Attention"]);
  });
  it("stays as it is, with the reason, where it has a past", async () => {
    const got = model([...TOKENS, [2, 2, 1, 4], [2, 2, 1, 4]], (b, [q, k, v, pk, pv]) =>
      b.node("Attention", [q!, k!, v!, null, pk!, pv!], both),
    );
    const [d] = await run(got, spellOps, {}, { target: IMPORTER });
    expect(d).toMatchObject({ kind: "skipped", why: expect.stringContaining("past") });
  });
});

describe("packed MultiHeadAttention for a target whose kernels read queries, keys and values apart", () => {
  const attend =
    (inputs: (x: readonly ValueId[]) => (ValueId | null)[]): Make =>
    (b, x) =>
      b.node("MultiHeadAttention", inputs(x), { num_heads: 2 }, { domain: "com.microsoft" });
  it.each([
    { what: "all three", inputs: [[2, 5, 2, 3, 4]], make: attend((x) => [...x]) },
    {
      what: "keys and values",
      inputs: [
        [2, 5, 8],
        [2, 3, 2, 2, 4],
      ],
      make: attend((x) => [...x]),
    },
    {
      what: "all three with a mask",
      inputs: [
        [2, 5, 2, 3, 4],
        [2, 2, 5, 5],
      ],
      make: attend(([x, m]) => [x!, null, null, null, null, m!]),
    },
  ])("takes $what apart", async ({ inputs, make }) => {
    const before = model(inputs, make);
    const got = cloneModel(before);
    await run(got, spellOps, {}, { target: target("cpu-x64") });
    expect(ops(got)).toContain("com.microsoft:MultiHeadAttention");
    expect(plainTwin(got, CPU_LIMITS)).toBeNull();
    expect(await difference(plainTwin(before, CPU_LIMITS)!, got, feeds(inputs))).toBeLessThan(EXACT);
    const kept = cloneModel(before);
    expect(await run(kept, spellOps, {}, { target: target("cuda") })).toEqual([]);
    expect(ops(kept)).toEqual(ops(before));
  });
});
