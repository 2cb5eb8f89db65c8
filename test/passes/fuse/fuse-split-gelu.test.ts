import { describe, expect, it } from "vitest";
import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import { type Model, stringAttr, type ValueId } from "../../../src/ir/graph.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import { fuseActivation } from "../../../src/passes/fuse/fuse-activation.ts";
import { fuseSplitGelu } from "../../../src/passes/fuse/fuse-split-gelu.ts";
import { spellOps } from "../../../src/passes/legalise/spell-ops.ts";
import { CPU_LIMITS } from "../../../src/targets/cpu-limits.ts";
import { target } from "../../../src/targets/index.ts";
import { finishPlan } from "../../../src/targets/legalise.ts";
import { plainTwin } from "../../../src/targets/twin.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";

const FUSED = "com.microsoft:BiasSplitGelu";
const INNER = 6;

interface Form {
  readonly gelu?: (k: Kit, x: ValueId) => ValueId;
  readonly gateFirst?: boolean;
  readonly biased?: boolean;
  readonly shape?: (number | string)[];
  readonly alsoRead?: boolean;
}

const erfGelu = (k: Kit, x: ValueId): ValueId => {
  const gate = k.b.node("Add", [k.b.node("Erf", [k.b.node("Div", [x, k.scalar(Math.SQRT2)])]), k.scalar(1)]);
  return k.b.node("Mul", [k.b.node("Mul", [x, gate]), k.scalar(0.5)]);
};

/** The first layer of a gated feed-forward as exporters write it. */
function geglu(form: Form = {}): Model {
  const k = createKit({ name: "geglu", opset: 20 }, 3);
  const { b } = k;
  const shape = form.shape ?? ["b", 5, 4];
  const x = b.input("x", "f32", shape);
  const layer = k.linear("proj", x, 4, 2 * INNER);
  const both =
    form.biased === false
      ? b.node("MatMul", [x, k.f32("bare", [4, 2 * INNER])], {}, { name: "bare" })
      : layer;
  const halves = b.multi("Split", [both, k.i64([INNER, INNER])], 2, { axis: -1 });
  const [value, gate] = form.gateFirst ? [halves[1]!, halves[0]!] : [halves[0]!, halves[1]!];
  const y = b.node("Mul", [value, (form.gelu ?? erfGelu)(k, gate)], {}, { name: "gated" });
  b.output(y, "y", tensorType("f32", null));
  if (form.alsoRead) b.output(b.node("Relu", [gate]), "z", tensorType("f32", null));
  return b.build();
}

async function fused(m: Model, widths: number[] | null = null) {
  const decisions = await run(m, fuseSplitGelu, { widths });
  await run(m, removeDead);
  return decisions;
}

const drift = (form: Form, after: Model, shape = [2, 5, 4]): Promise<number> =>
  difference(geglu(form), plainTwin(after, CPU_LIMITS)!, { x: wave(shape) });

describe("fuse-split-gelu", () => {
  it("takes bias, halving and gating together", async () => {
    const got = geglu();
    const decisions = await fused(got);
    expect(decisions).toMatchObject([{ kind: "applied", count: 1 }]);
    expect(ops(got)).toEqual(["MatMul", FUSED]);
    expect(await drift({}, got)).toBeLessThan(1e-6);
  });
  it.each([
    { what: "the standard Gelu", gelu: (k: Kit, x: ValueId) => k.b.node("Gelu", [x]) },
    {
      what: "the contributed Gelu",
      gelu: (k: Kit, x: ValueId) => k.b.node("Gelu", [x], {}, { domain: "com.microsoft" }),
    },
  ])("reads $what", async ({ gelu }) => {
    const got = geglu({ gelu });
    await fused(got);
    expect(ops(got)).toEqual(["MatMul", FUSED]);
    expect(await drift({}, got)).toBeLessThan(1e-6);
  });
  it("comes after everything else of a build, in half precision too", async () => {
    const got = geglu();
    await run(got, fuseActivation, { spelling: "Gelu" });
    await run(got, removeDead);
    await run(got, convertFloat, { to: "f16" }, { target: target("cuda") });
    await fused(got);
    expect(ops(got).filter((o) => o !== "Cast")).toEqual(["MatMul", FUSED]);
    const bias = [...got.graph.nodes()].find((n) => n.op === "BiasSplitGelu")!.inputs[1]!;
    expect(got.graph.constant(bias)?.dtype).toBe("f16");
    expect(await drift({}, got)).toBeLessThan(2e-3);
  });
  it.each<{ what: string; form: Form; why?: string; widths?: number[] }>([
    {
      what: "a width without a kernel",
      form: {},
      widths: [2560, 5120],
      why: "12 wide, kernels exist for 2560, 5120",
    },
    { what: "matrices", form: { shape: ["b", 4] }, why: "its input has 2 axes" },
    { what: "a half that is read elsewhere", form: { alsoRead: true }, why: "read elsewhere" },
    { what: "a gate in front of the value", form: { gateFirst: true } },
    { what: "a layer without bias", form: { biased: false } },
    {
      what: "the GELU by tanh",
      form: { gelu: (k, x) => k.b.node("Gelu", [x], { approximate: stringAttr("tanh") }) },
    },
  ])("leaves $what alone", async ({ form, why, widths }) => {
    const got = geglu(form);
    const before = ops(got);
    const decisions = await fused(got, widths ?? null);
    expect(ops(got)).not.toContain(FUSED);
    expect(ops(got).length).toBeLessThanOrEqual(before.length);
    expect(decisions.map((d) => d.kind)).toEqual(why === undefined ? [] : ["skipped"]);
    if (why !== undefined) expect(decisions[0]).toMatchObject({ why: expect.stringContaining(why) });
  });
  it("takes the widths of a target's kernels from its descriptor", () => {
    const widths = (id: string) =>
      finishPlan(target(id)).find((s) => s.name === "fuse-split-gelu")?.options["widths"];
    expect(widths("cuda")).toEqual([2560, 5120, 6144, 10240, 12288]);
    expect(widths("directml")).toBeNull();
    expect(widths("cpu-x64")).toBeUndefined();
  });
  it("is undone for targets without the operator", async () => {
    const got = geglu();
    await fused(got);
    await run(got, spellOps, {}, { target: target("tensorrt") });
    await run(got, removeDead);
    expect(ops(got)).not.toContain(FUSED);
    expect(ops(got)).toContain("Erf");
    expect(await difference(geglu(), got, { x: wave([2, 5, 4]) })).toBeLessThan(1e-6);
  });
});
