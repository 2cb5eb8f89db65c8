import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { intAttr, type Model } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import { tensorType } from "../../../../src/ir/types.ts";
import { encodeMini, miniValue } from "../../../../src/numeric/minifloat.ts";
import { F8_STEPS } from "../../../../src/numeric/quantize/activation.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import { quantizerOf } from "../../../../src/passes/quantize/static/grids.ts";
import { quantizeStatic } from "../../../../src/passes/quantize/static/quantize-static.ts";
import { findSites } from "../../../../src/passes/quantize/static/sites.ts";
import { predictor, type Smoothing, sharedScale } from "../../../../src/passes/quantize/static/smooth.ts";
import { target } from "../../../../src/targets/index.ts";
import { runtime } from "../../harness.ts";
import { outputsOn, quantize, sqnr } from "../quantized.ts";
import { valuesOver } from "../statistics.ts";

const CHANNELS = 32;
const htp = target("qnn-htp");

/** A few channels of one side are larger than the rest. */
function spread(rng: ReturnType<typeof createRng>, size: number): Float64Array {
  return Float64Array.from({ length: CHANNELS }, (_, c) => (c % 11 === 3 ? size : 1) * (0.5 + rng.float()));
}

/** A layer norm and a linear layer behind it. */
function layer(inputs: Float64Array, weights: Float64Array): Model {
  const rng = createRng(5, "smooth");
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [2, 40, CHANNELS]);
  const n = b.node(
    "LayerNormalization",
    [x, b.constant(f32Tensor(inputs)), b.constant(f32Tensor(inputs.map((v) => 0.2 * v)))],
    { axis: intAttr(-1) },
  );
  const w = Float64Array.from(
    { length: CHANNELS * 24 },
    (_, i) => rng.normal() * weights[Math.floor(i / 24)]!,
  );
  const y = b.node("MatMul", [n, b.constant(f32Tensor(w, [CHANNELS, 24]))], {}, { name: "linear" });
  return b.output(y, "y", tensorType("f32", [2, 40, 24])).build();
}

const feeds = Array.from({ length: 3 }, (_, i) => {
  const rng = createRng(i, "smooth feeds");
  const x = Float64Array.from({ length: 2 * 40 * CHANNELS }, () => rng.normal());
  return new Map([["x", denseFrom("f32", [2, 40, CHANNELS], x)]]);
});
const CALLS = feeds.map((f, i) => ({ timestep: i, feeds: f }));

/** Fidelity of a layer quantized with one scale per tensor, and the share that was moved. */
async function quality(inputs: Float64Array, weights: Float64Array, smooth: Smoothing) {
  const model = layer(inputs, weights);
  const exact = await outputsOn(model, feeds);
  const options = { smooth, guards: false, bits: 8 as const, minElements: 1, faster: false };
  const decisions = await quantize(model, quantizeStatic, { options, target: htp, calls: CALLS });
  const share = decisions.find((d) => d.rule === "smooth")?.to ?? null;
  return { db: sqnr(exact, await outputsOn(model, feeds)), share };
}

/** Noise of the quantized layer over the power of its input times its weights, mean over calls, in plain loops. */
function simulated(o: {
  readonly w: Float32Array;
  readonly scale: Float64Array;
  readonly zero: number;
  readonly mean: Float64Array;
  readonly sample: Float32Array;
  readonly float8: boolean;
}): number {
  const { w, scale, zero, mean, sample, float8 } = o;
  const fp8 = (x: number): number => miniValue("f8e4m3fn", encodeMini("f8e4m3fn", Math.fround(x), true));
  const largest = float8 ? 448 : 127;
  const outputs = w.length / CHANNELS;
  const rounded = w.slice();
  const shift = new Float64Array(outputs);
  for (let n = 0; n < outputs; n++) {
    let most = 0;
    for (let c = 0; c < CHANNELS; c++) most = Math.max(most, Math.abs(w[c * outputs + n]! * scale[c]!));
    for (let c = 0; c < CHANNELS; c++) {
      const at = c * outputs + n;
      const x = (w[at]! * scale[c]! * largest) / most;
      rounded[at] = ((float8 ? fp8(x) : Math.round(x)) * most) / largest / scale[c]!;
      shift[n] = shift[n]! + (rounded[at]! - w[at]!) * mean[c]!;
    }
  }
  const each = sample.length / CALLS.length;
  let sum = 0;
  for (let t = 0; t < CALLS.length; t++) {
    let [noise, power] = [0, 0];
    for (let r = t * each; r < (t + 1) * each; r += CHANNELS)
      for (let n = 0; n < outputs; n++) {
        let e = -shift[n]!;
        for (let c = 0; c < CHANNELS; c++) {
          const v = sample[r + c]!;
          const q = float8
            ? fp8(v / scale[c]!)
            : Math.min(255, Math.max(0, Math.round(v / scale[c]!) + zero)) - zero;
          const at = c * outputs + n;
          e += q * scale[c]! * rounded[at]! - v * w[at]!;
          power += (v * w[at]!) ** 2;
        }
        noise += e * e;
      }
    sum += noise / power / CALLS.length;
  }
  return sum;
}

describe("smoothing", () => {
  it("gives every channel at least its range: all of the differences, none of them, or a share", () => {
    const vector = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(vector, vector, fc.double({ min: 0, max: 1, noNaN: true }), (r, w, share) => {
        const [range, weight] = [Float64Array.from(r), Float64Array.from(w)];
        const s = sharedScale(range, weight, share);
        const slack = s.map((v, c) => v / range[c]!);
        expect(Math.min(...slack)).toBeCloseTo(1, 9);
        const full = sharedScale(range, weight, 1);
        for (const [c, v] of full.entries()) expect(v / range[c]!).toBeCloseTo(1, 9);
      }),
    );
  });

  it("moves outliers of the activation where weights are even, and leaves them where weights are not", async () => {
    const rng = createRng(1, "spread");
    const [even, uneven] = [spread(rng, 1), spread(rng, 40)];
    const off = await quality(uneven, even, "off");
    const auto = await quality(uneven, even, "auto");
    expect(off.share).toBeNull();
    expect(auto.share).toMatch(/^share 0\.\d in layer-norm$/);
    expect(auto.db).toBeGreaterThan(off.db + 6);
    // With the outliers in the weights as well, weights with one scale would pay for what activations gain.
    const both = await quality(even, uneven, "auto");
    expect(both.db).toBeGreaterThan((await quality(even, uneven, 1)).db - 0.5);
  });

  it.each([false, true])("predicts the error, as simulated number by number (fp8: %s)", async (float8) => {
    const rng = createRng(6, "spread");
    const model = layer(spread(rng, 20), spread(rng, 3));
    const shapes = inferShapes(model);
    const how = { match: null, exclude: null, minElements: 1, guards: false };
    const [site] = findSites(model, shapes, how).sites;
    const { reader } = await runtime();
    const [of] = site!.layers;
    const w = floats({ ...of!.weight, bytes: await reader.read(of!.weight) });
    const request = { values: [{ name: site!.name, axis: 2, rows: 80 }], grams: [] };
    const statistics = await valuesOver(model, request, CALLS, await runtime());
    const value = statistics.value(site!.name)!;
    const levels = float8 ? { steps: F8_STEPS, symmetric: true, float8 } : { steps: 255 };
    const settings = { timeTolerance: Number.POSITIVE_INFINITY, bucketOf: null, power: 2, ...levels };
    const even = new Float64Array(CHANNELS).fill(1);
    const grid = { statistics, value, importance: even, sources: null } as const;
    const channels = quantizerOf({ ...grid, granularity: "common" }, settings);
    const x = {
      channels,
      tensor: quantizerOf({ ...grid, granularity: "tensor" }, settings),
      statistics: value,
      layers: [{ layer: of!, weight: w }],
      perChannel: true,
    };
    for (const share of [0, 0.5, 1]) {
      const scale = sharedScale(channels.scale, even, share);
      const found = predictor(x, levels)(scale);
      const exact = simulated({
        w,
        scale,
        zero: channels.zero[0]!,
        mean: channels.mean,
        sample: value.sample,
        float8,
      });
      expect(found / exact).toBeGreaterThan(0.85);
      expect(found / exact).toBeLessThan(1.15);
    }
  });

  it("auto is within half a decibel of the best share, and never worse than none", async () => {
    for (const [seed, size] of [
      [2, 8],
      [3, 60],
      [4, 2],
    ] as const) {
      const rng = createRng(seed, "spread");
      const [inputs, weights] = [spread(rng, size), spread(rng, size / 2)];
      const auto = await quality(inputs, weights, "auto");
      let best = Number.NEGATIVE_INFINITY;
      for (const s of ["off", 0.5, 0.7, 0.9, 1] as const)
        best = Math.max(best, (await quality(inputs, weights, s)).db);
      expect(auto.db).toBeGreaterThan(best - 0.5);
    }
  });
});
