import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model } from "../../../src/ir/graph.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { factorizeConv } from "../../../src/passes/factorize/factorize-conv.ts";
import { factorizeLinear } from "../../../src/passes/factorize/factorize-linear.ts";
import { createRuntime } from "../../../src/runtime/index.ts";
import { target } from "../../../src/targets/index.ts";
import { ops } from "../harness.ts";
import { feedsOf } from "../quantize/layered.ts";
import { factorize, outputSqnr, run } from "./factorized.ts";

const rng = createRng(9);
const tensor = (dims: readonly number[], size = 0.1): Tensor =>
  f32Tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => size * rng.normal()),
    dims,
  );

const DIMS = [2, 24, 10, 9];
/** A strided convolution with uneven padding; `bias` is its own. */
function convolution(bias: boolean): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", DIMS);
  const inputs = [x, b.constant(tensor([32, 24, 3, 3])), ...(bias ? [b.constant(tensor([32], 1))] : [])];
  const attrs = { pads: intsAttr([1, 0, 1, 2]), strides: intsAttr([2, 1]) };
  const y = b.node("Conv", inputs, attrs, { name: "layer" });
  return b.output(y, "y", tensorType("f32", [2, 32, 5, 9])).build();
}

async function sqnr(before: Model, after: Model, centre: boolean): Promise<number> {
  const feeds = feedsOf(DIMS);
  const of = (r: readonly Map<string, Dense>[]): Dense[] => r.map((m) => m.get("y")!);
  return outputSqnr(of(await run(before, feeds)), of(await run(after, feeds)), { axis: 1, centre });
}

describe("convolutions as three", () => {
  it.each([true, false])("are off by as much as predicted (bias: %s)", async (bias) => {
    const model = convolution(bias);
    const before = cloneModel(model);
    const decisions = await factorize(model, factorizeConv, {
      options: { budget: { rank: 12 } },
      feeds: feedsOf(DIMS),
    });
    expect(ops(model)).toEqual(["Conv", "Conv", "Conv"]);
    const line = decisions.find((d) => d.node === "layer")!;
    expect(line).toMatchObject({ kind: "applied", rule: "tucker", to: "ranks 12, 12" });
    const found = await sqnr(before, model, bias);
    expect(Math.abs(10 ** ((line.error!.value - found) / 10) - 1)).toBeLessThan(1e-3);
    expect(line.bytesAfter!).toBe(4 * (12 * 24 + 12 * 12 * 9 + 32 * 12));
  });

  it("fit their inputs better than the plain HOSVD of equal ranks", async () => {
    const found: number[] = [];
    for (const weighting of ["activations", "none"] as const) {
      const source = convolution(false);
      const model = cloneModel(source);
      await factorize(model, factorizeConv, {
        options: { budget: { rank: 10 }, weighting },
        feeds: feedsOf(DIMS),
      });
      found.push(await sqnr(source, model, false));
    }
    expect(found[0]! - found[1]!).toBeGreaterThan(1);
  });

  it("take the share of operations they were given, per layer and over all", async () => {
    for (const budget of [{ ratio: 0.4 }, { keep: 0.4 }]) {
      const model = convolution(true);
      const decisions = await factorize(model, factorizeConv, { options: { budget }, feeds: feedsOf(DIMS) });
      const line = decisions.find((d) => d.node === "layer")!;
      const [output, input] = line.to!.match(/\d+/g)!.map(Number) as [number, number];
      // Places of the input and positions of the output.
      const flops = 180 * 24 * input + 90 * input * output * 9 + 90 * output * 32;
      expect(flops / (90 * 32 * 24 * 9)).toBeLessThanOrEqual(0.4);
      expect(flops / (90 * 32 * 24 * 9)).toBeGreaterThan(0.2);
    }
  });

  it("are refused where the factors save nothing, and without statistics are plain, aloud", async () => {
    const model = convolution(true);
    const decisions = await factorize(model, factorizeConv, { options: { budget: { rank: 24 } } });
    expect(decisions.find((d) => d.rule === "weighting")).toMatchObject({ kind: "downgraded", to: "none" });
    expect(decisions.find((d) => d.rule === "no-gain")).toMatchObject({ kind: "skipped", node: "layer" });
    expect(ops(model)).toEqual(["Conv"]);
    const slower = await factorize(convolution(true), factorizeConv, {
      options: { budget: { rank: 18 } },
      target: target("cpu-x64"),
    });
    expect(slower.find((d) => d.rule === "no-gain")).toMatchObject({
      why: expect.stringMatching(/no less time/),
    });
    const plain = await factorize(convolution(true), factorizeConv, { options: { budget: { rank: 8 } } });
    expect(plain.map((d) => d.rule)).toContain("tucker-plain");
  });

  it("are not factored again", async () => {
    const model = convolution(true);
    await factorize(model, factorizeConv, { options: { budget: { rank: 12 } } });
    const { version } = model.graph;
    for (const pass of [factorizeConv, factorizeLinear]) {
      const decisions = await factorize(model, pass, { options: { budget: { rank: 2 } } });
      expect(decisions).toMatchObject([{ kind: "skipped", rule: "factor", count: 3 }]);
    }
    expect(model.graph.version).toBe(version);
  });

  it("give the same bytes on any number of threads", async () => {
    const source = convolution(true);
    const bytes: Uint8Array[] = [];
    for (const workers of [0, 2]) {
      const model = cloneModel(source);
      await factorize(model, factorizeConv, { options: { budget: { ratio: 0.5 } }, feeds: feedsOf(DIMS) });
      const rt = await createRuntime({ workers });
      bytes.push(await encodeModel(model, rt.reader));
      await rt.close();
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});
