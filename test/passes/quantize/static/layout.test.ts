import { describe, expect, it } from "vitest";
import { denseFrom } from "../../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { cloneModel } from "../../../../src/ir/clone.ts";
import type { Dense } from "../../../../src/ir/evaluator.ts";
import { intsAttr, type Model, type ValueId } from "../../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../../src/ir/tensor.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import { splitUpsample } from "../../../../src/passes/fuse/split-upsample.ts";
import { unionOf } from "../../../../src/passes/quantize/static/interleave.ts";
import { optimizedOps } from "../../../../src/runtime/optimized.ts";
import { apply, ops, runtime } from "../../harness.ts";
import { weight } from "../layered.ts";
import { outputsOn, quantize, sqnr, statisticsFor, TIMESTEPS } from "./static.ts";

const CHANNELS = 8;
const kernel = (b: ModelBuilder, x: ValueId, side: number, out = CHANNELS): ValueId =>
  b.node(
    "Conv",
    [
      x,
      b.constant(weight([out, CHANNELS, 2 * side + 1, 2 * side + 1])),
      b.constant(f32Tensor(Array.from({ length: out }, (_, i) => 0.2 * Math.cos(i)))),
    ],
    { pads: intsAttr([side, side, side, side]) },
  );

/** A network on `sample` whose ranges follow `timestep`. */
function network(make: (b: ModelBuilder, x: ValueId) => ValueId, dims: readonly (number | string)[]): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("sample", "f32", [...dims]);
  const t = b.input("timestep", "i64", [1]);
  const small = b.constant(f32Tensor([1e-9], []));
  const tiny = b.node("Mul", [b.node("Cast", [t], { to: 1 }), small]);
  return b
    .output(b.node("Add", [make(b, x), tiny]), "y", { kind: "tensor", dtype: "f32", shape: null })
    .build();
}

function callsOf(dims: readonly number[]): Map<string, Dense>[] {
  return TIMESTEPS.map((t, i) => {
    const rng = createRng(i, "layout");
    const size = 10 ** (t / 800 - 0.5);
    const x = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal() * size);
    return new Map([
      ["sample", denseFrom("f32", dims, x)],
      ["timestep", denseFrom("i64", [1], [t])],
    ]);
  });
}

async function quantized(before: Model, dims: readonly number[]) {
  const feeds = callsOf(dims);
  const options = { guards: false };
  const statistics = await statisticsFor(before, options, { feeds, timesteps: TIMESTEPS });
  const after = cloneModel(before);
  await quantize(after, options, { statistics });
  const float = await outputsOn(before, feeds);
  return {
    after,
    ratio: sqnr(float, await outputsOn(after, feeds)),
    plain: sqnr(float, await outputsOn(after, feeds, { optimize: "disable" })),
    runs: await optimizedOps(await runtime(), after),
  };
}

/** Conversions that a session runs; as many as were written when nothing was split, moved or copied. */
const conversions = (counts: ReadonlyMap<string, number>) =>
  [counts.get("QuantizeLinear") ?? 0, counts.get("DequantizeLinear") ?? 0] as const;

function written(model: Model) {
  const all = ops(model);
  return ["QuantizeLinear", "DequantizeLinear"].map((op) => all.filter((o) => o === op).length);
}

describe("integer layers and the layout of images", () => {
  it.each([
    ["symbolic", ["b", CHANNELS, "h", "w"]],
    ["fixed", [2, CHANNELS, 6, 4]],
  ] as const)("puts the phases of a doubled image together as integers (%s shape)", async (_name, shape) => {
    const before = network((b, x) => {
      const up = b.node("Resize", [x, null, b.constant(f32Tensor([1, 1, 2, 2]))], {
        mode: "nearest",
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      });
      return kernel(b, up, 1, 12);
    }, shape);
    await apply(before, [splitUpsample as never]);
    const { after, ratio, plain, runs } = await quantized(before, [2, CHANNELS, 6, 4]);
    const all = ops(after);
    expect(all.filter((o) => o === "com.microsoft:QLinearConv")).toHaveLength(4);
    expect(written(after)).toEqual([1, 1]);
    expect(all).not.toContain("DepthToSpace");
    expect(conversions(runs)).toEqual([1, 1]);
    expect(ratio).toBeGreaterThan(38);
    expect(plain).toBeCloseTo(ratio, 1);
  });

  it("holds transpositions back from a result that meets another image or several readers", async () => {
    const before = network(
      (b, x) => {
        const y = kernel(b, b.node("Sigmoid", [kernel(b, x, 1)]), 1);
        const z = b.node("Add", [y, x]);
        return b.node("Add", [kernel(b, b.node("Relu", [z]), 0), z]);
      },
      ["b", CHANNELS, "h", "w"],
    );
    const { after, ratio, plain, runs } = await quantized(before, [2, CHANNELS, 6, 4]);
    expect(ops(after).filter((o) => o === "QLinearConv")).toHaveLength(3);
    expect(conversions(runs)).toEqual(written(after));
    expect(ratio).toBeGreaterThan(35);
    expect(plain).toBeCloseTo(ratio, 1);
  });

  it("quantizes tokens before they are turned", async () => {
    const before = network(
      (b, x) => {
        const flat = b.node("Reshape", [b.node("Tanh", [x]), b.constant(i64Tensor([0, 0, -1]))]);
        const tokens = b.node("Transpose", [flat], { perm: intsAttr([0, 2, 1]) });
        return b.node("MatMul", [tokens, b.constant(weight([CHANNELS, 16]))]);
      },
      ["b", CHANNELS, "h", "w"],
    );
    const { after, ratio, runs } = await quantized(before, [2, CHANNELS, 6, 4]);
    const all = ops(after).filter((o) => ["QuantizeLinear", "Transpose"].includes(o));
    expect(all).toEqual(["QuantizeLinear", "Transpose"]);
    expect(conversions(runs)).toEqual([1, 0]);
    expect(ratio).toBeGreaterThan(38);
  });

  it("joins the statistics of phases call by call", () => {
    const of = (k: number) => ({
      name: `p${k}`,
      channels: 2,
      count: 3,
      min: Float64Array.of(-k, -1, 0, k),
      max: Float64Array.of(k, 2, 3, 4),
      mean: Float64Array.of(k, 0, 0, 0),
      square: Float64Array.of(1, 1, 1, k),
      rows: 1,
      sample: Float32Array.of(k, k + 0.5, -k, -k - 0.5),
    });
    const all = unionOf([of(1), of(3)]);
    expect(all.count).toBe(6);
    expect([...all.min]).toEqual([-3, -1, 0, 1]);
    expect([...all.max]).toEqual([3, 2, 3, 4]);
    expect([...all.mean]).toEqual([2, 0, 0, 0]);
    expect([...all.square]).toEqual([1, 1, 1, 2]);
    expect(all.rows).toBe(2);
    expect([...all.sample]).toEqual([1, 1.5, 3, 3.5, -1, -1.5, -3, -3.5]);
  });
});
