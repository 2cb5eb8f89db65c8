import { describe, expect, it } from "vitest";
import type { CallErrors, Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { ratioDb } from "../../../src/numeric/energy.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import { target } from "../../../src/targets/index.ts";
import { dtypeOfValue, run, type Setting } from "../../targets/harness.ts";
import { ops } from "../harness.ts";

const SIGNAL = 1e6;

function model(): Model {
  const b = new ModelBuilder({ opset: 18 });
  let at = b.input("x", "f32", [4, 8]);
  for (const name of ["a", "b"]) {
    const w = b.constant(f32Tensor(new Float32Array(64).fill(0.1), [8, 8]), `${name}_w`);
    const made = b.node("MatMul", [at, w], {}, { name, outputNames: [`${name}_y`] });
    at = b.node("Add", [made, at], {}, { name: `${name}_add`, outputNames: [`${name}_sum`] });
  }
  return b.output(b.node("Relu", [at]), "y", { kind: "tensor", dtype: "f32", shape: [4, 8] }).build();
}

/** An oracle for which every node in half precision makes the noise of its operator, on top of `always`. */
function oracle(noise: Readonly<Record<string, number>>, always = 0) {
  let asked = 0;
  const errors = async (candidate: unknown, calls: readonly number[] = [0, 1]): Promise<CallErrors> => {
    asked++;
    const { graph } = candidate as Model;
    const shapes = inferShapes(candidate as Model);
    let sum = always;
    for (const n of graph.nodes())
      if (shapes.dtype(n.outputs[0]!) === "f16" && n.op !== "Cast") sum += noise[n.op] ?? 0;
    const all = new Float64Array(calls.length).fill(sum);
    const db = ratioDb(SIGNAL, sum);
    return {
      signal: new Float64Array(calls.length).fill(SIGNAL),
      noise: all,
      sqnr: all.map(() => db),
      mean: db,
      worst: db,
    };
  };
  return { asked: () => asked, oracle: { calls: [{ feeds: new Map() }, {}], errors } as unknown as Oracle };
}

const compute = { to: "f16", use: "compute" } as const;
const floor = (dB: number) => ({ ...compute, floor: { mean: dB, worst: dB } });
const verdict = (decisions: Awaited<ReturnType<typeof run>>) =>
  decisions.find((d) => d.rule === "fidelity-floor");

describe("convert-float with a fidelity floor", () => {
  const convert = async (o: object, setting: Setting) => {
    const m = model();
    return { m, decisions: await run(m, convertFloat, o, { peaks: {}, ...setting }) };
  };

  it("keeps the operator whose rounding costs most, and says what that brought", async () => {
    const fake = oracle({ Add: 100, MatMul: 10 });
    const { m, decisions } = await convert(floor(46), fake);
    expect(dtypeOfValue(m, "a_y")).toBe("f16");
    expect(dtypeOfValue(m, "a_y")).toBe("f16");
    expect(dtypeOfValue(m, "a_sum")).toBe("f32");
    expect(dtypeOfValue(m, "b_sum")).toBe("f32");
    // 2 sums of 100 and 2 products of 10 in half precision; the products alone afterwards.
    expect(verdict(decisions)).toMatchObject({ kind: "applied", to: "mean 46 dB, worst 46 dB" });
    expect(verdict(decisions)!.why).toMatch(/mean 47\.0 dB.*throughout mean 36\.6 dB.*: Add stay in fp32/);
    expect(decisions.filter((d) => d.rule === "f32-island-precision").length).toBeGreaterThan(0);
    // Once as it is, each of three operators alone, and the choice.
    expect(fake.asked()).toBe(5);
  });

  it("takes as much as the floor needs, and drops what turns out not to be needed", async () => {
    const both = await convert(floor(60), oracle({ Add: 100, MatMul: 10 }));
    expect(ops(both.m)).not.toContain("Cast");
    expect(verdict(both.decisions)).toMatchObject({ kind: "applied" });
  });

  it("changes nothing where the floor holds, and says what is missing where it cannot", async () => {
    const held = oracle({ Add: 100 });
    const enough = await convert(floor(30), held);
    expect(held.asked()).toBe(1);
    expect(dtypeOfValue(enough.m, "a_sum")).toBe("f16");
    const short = await convert(floor(60), oracle({ Add: 100 }, 50));
    expect(verdict(short.decisions)).toMatchObject({ kind: "downgraded" });
    expect(verdict(short.decisions)!.why).toMatch(/mean 43\.0 dB/);
    expect(dtypeOfValue(short.m, "a_sum")).toBe("f32");
  });

  it("weighs by estimated time where the target has a machine", async () => {
    const { decisions } = await convert(floor(46), {
      ...oracle({ Add: 100, MatMul: 10 }),
      target: target("webgpu"),
    });
    expect(verdict(decisions)!.why).toMatch(/at -?\d+\.\d % more estimated time \(roofline of the Adreno/);
  });

  it("says why it does not measure", async () => {
    const none = await convert(floor(46), { oracle: null });
    expect(verdict(none.decisions)).toMatchObject({ kind: "skipped" });
    const brain = await convert({ ...floor(46), to: "bf16" }, oracle({}));
    expect(verdict(brain.decisions)).toMatchObject({
      kind: "skipped",
      why: expect.stringMatching(/bfloat16/),
    });
    const stored = oracle({});
    await convert({ ...floor(46), use: "storage", minElements: 1 }, stored);
    expect(stored.asked()).toBe(0);
  });
});
