import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../../src/calibrate/index.ts";
import type { Unfold } from "../../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { cloneModel } from "../../../../src/ir/clone.ts";
import { elementCount } from "../../../../src/ir/dtype.ts";
import type { Dense } from "../../../../src/ir/evaluator.ts";
import { intsAttr, type Model, type ValueId } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import type { Quantizer } from "../../../../src/passes/quantize/static/grids.ts";
import { planSite } from "../../../../src/passes/quantize/static/plan.ts";
import { findSites } from "../../../../src/passes/quantize/static/sites.ts";
import { runtime } from "../../harness.ts";
import { weight } from "../layered.ts";
import { columnsOf } from "../statistics.ts";
import { type Options, outputsOn, quantize, sqnr, statisticsFor, TIMESTEPS } from "./static.ts";

/** One layer behind graph inputs "sample" and, if wanted, "timestep", which its result hardly depends on. */
interface Single {
  readonly name: string;
  readonly dims: readonly number[];
  readonly axis: number;
  readonly unfold: Unfold | null;
  make(b: ModelBuilder, x: ValueId): ValueId;
}

const bias = (n: number) =>
  f32Tensor(
    Array.from({ length: n }, (_, i) => 0.3 * Math.sin(3 * i)),
    [n],
  );

const SINGLES: readonly Single[] = [
  {
    name: "Conv, 3×3, padded",
    dims: [2, 6, 7, 5],
    axis: 1,
    unfold: { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1] },
    make: (b, x) =>
      b.node("Conv", [x, b.constant(weight([10, 6, 3, 3])), b.constant(bias(10))], {
        pads: intsAttr([1, 1, 1, 1]),
      }),
  },
  {
    name: "Conv, 3×3, strides",
    dims: [2, 5, 8, 8],
    axis: 1,
    unfold: { kernel: [3, 3], strides: [2, 2], pads: [1, 0, 1, 0], dilations: [1, 1] },
    make: (b, x) =>
      b.node("Conv", [x, b.constant(weight([7, 5, 3, 3]))], {
        pads: intsAttr([1, 0, 1, 0]),
        strides: intsAttr([2, 2]),
      }),
  },
  {
    name: "Conv, 1×1",
    dims: [2, 16, 5, 5],
    axis: 1,
    unfold: { kernel: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] },
    make: (b, x) => b.node("Conv", [x, b.constant(weight([12, 16, 1, 1])), b.constant(bias(12))]),
  },
  {
    name: "MatMul and Add",
    dims: [2, 9, 24],
    axis: 2,
    unfold: null,
    make: (b, x) =>
      b.node("Add", [b.node("MatMul", [x, b.constant(weight([24, 16]))]), b.constant(bias(16))]),
  },
  {
    name: "Gemm",
    dims: [18, 24],
    axis: 1,
    unfold: null,
    make: (b, x) => b.node("Gemm", [x, b.constant(weight([16, 24])), b.constant(bias(16))], { transB: 1 }),
  },
];

function modelOf(s: Single, timed: boolean): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("sample", "f32", [...s.dims]);
  const y = s.make(b, x);
  const t = timed ? b.input("timestep", "i64", [1]) : null;
  const small = b.constant(f32Tensor([1e-9], []));
  const out = t === null ? y : b.node("Add", [y, b.node("Mul", [b.node("Cast", [t], { to: 1 }), small])]);
  return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** Channels of different sizes and means; a call's size falls with its timestep, tenfold over all. */
function callsOf(s: Single, timed: boolean): Map<string, Dense>[] {
  return TIMESTEPS.map((t, i) => {
    const rng = createRng(i, "layer");
    const inner = s.dims.slice(s.axis + 1).reduce((a, b) => a * b, 1);
    const size = 10 ** (t / 800 - 0.5);
    const x = Float32Array.from({ length: elementCount(s.dims) }, (_, k) => {
      const c = Math.floor(k / inner) % s.dims[s.axis]!;
      return (rng.normal() + 0.5) * (1 + (c % 4)) * size;
    });
    const feeds = new Map([["sample", denseFrom("f32", s.dims, x)]]);
    if (timed) feeds.set("timestep", denseFrom("i64", [1], [t]));
    return feeds;
  });
}

const pick = (v: ArrayLike<number>, i: number): number => v[v.length === 1 ? 0 : i]!;

/** x on its grid and back at one call. */
function onGrid(x: number, q: Quantizer, c: number, call: number): number {
  const scale = pick(q.scale, c) * (q.profile?.[call] ?? 1);
  const zero = pick(q.zero, c);
  return (Math.min(255, Math.max(0, Math.round(x / scale) + zero)) - zero) * scale;
}

/** The layer with both sides on their grids, in plain floats. */
async function simulated(s: Single, model: Model, options: Options, feeds: readonly Map<string, Dense>[]) {
  const shapes = inferShapes(model);
  const statistics = await statisticsFor(
    model,
    { guards: false, ...options },
    { feeds, timesteps: TIMESTEPS },
  );
  const { sites } = findSites(model, shapes, {
    match: null,
    exclude: null,
    minElements: 1,
    guards: false,
  });
  const plan = (await planSite(
    sites[0]!,
    {
      bucketOf: null,
      timeTolerance: options.time === "constant" ? Number.POSITIVE_INFINITY : 1.1,
      power: 2,
      steps: 255,
      weightScales: "all",
      block: null,
      saturation: options.saturation ?? "pairs",
      activations: options.activations ?? "channel",
      smooth: 1,
      foldConv: false,
      correctBias: options.correctBias ?? true,
    },
    { graph: model.graph, shapes, reader: (await runtime()).reader, statistics, rest: null },
  ))!;
  const { layer, fit, bias: shift, output } = plan.layers[0]!;
  const w = floats({ ...layer.weight, bytes: await (await runtime()).reader.read(layer.weight) });
  const taps = w.length / (layer.outputs * layer.channels);
  const parts: number[] = [];
  for (const [call, f] of feeds.entries()) {
    const { rows, size } = columnsOf(f.get("sample")!, {
      layer: "",
      value: "sample",
      axis: s.axis,
      unfold: s.unfold,
    });
    const positions = rows.length / size;
    const y: number[] = new Array(positions * layer.outputs);
    for (let n = 0; n < layer.outputs; n++) {
      const weights = Float64Array.from({ length: size }, (_, k) => {
        const c = Math.floor(k / taps);
        const v = layer.kind === "conv" ? w[n * size + k]! : w[k * layer.outputs + n]!;
        const b = Math.fround(plan.base[c]!);
        return (
          (Math.min(127, Math.max(-127, Math.round(Math.fround(v * b) / fit.scale[n]!))) * fit.scale[n]!) / b
        );
      });
      // Convolutions add the bias and the shift of the output's zero point in units of their accumulator.
      const unit =
        fit.scale[n]! *
        (plan.input.profile?.[call] ?? 1) *
        (plan.input.scale.length === 1 ? plan.input.scale[0]! : 1);
      const moved =
        output === null
          ? 0
          : (pick(output.zero, n) - 128) * pick(output.scale, n) * (output.profile?.[call] ?? 1);
      const given = shift?.[n] ?? 0;
      const start = output === null ? given : Math.round((given + moved) / unit) * unit - moved;
      for (let p = 0; p < positions; p++) {
        let sum = start;
        for (let k = 0; k < size; k++)
          sum += onGrid(rows[p * size + k]!, plan.input, Math.floor(k / taps), call) * weights[k]!;
        const value = output === null ? sum : onGrid(sum, output, n, call);
        // Channels first for convolutions, as the graph returns them.
        const perImage = layer.kind === "conv" ? positions / s.dims[0]! : 1;
        const [image, at] = [Math.floor(p / perImage), p % perImage];
        y[layer.kind === "conv" ? (image * layer.outputs + n) * perImage + at : p * layer.outputs + n] =
          value;
      }
    }
    parts.push(...y);
  }
  return { y: Float32Array.from(parts), statistics };
}

const OPTIONS: Options[] = [
  {},
  { activations: "tensor" },
  { time: "constant" },
  { saturation: "seven-bit" },
  { saturation: "pairs", correctBias: false },
];

const noise = (a: Float32Array, b: Float32Array): number => a.reduce((s, v, i) => s + (v - b[i]!) ** 2, 0);

describe("a layer in 8 bits", () => {
  it.each(
    SINGLES.flatMap((single) =>
      OPTIONS.map((options) => ({ single, options, label: `${single.name}, ${JSON.stringify(options)}` })),
    ),
  )("$label: is off by as much as its plan says", async ({ single, options }) => {
    const model = modelOf(single, true);
    const before = cloneModel(model);
    const feeds = callsOf(single, true);
    const { y: planned, statistics } = await simulated(single, model, options, feeds);
    const decisions = await quantize(model, { guards: false, ...options }, { statistics });
    expect(decisions.some((d) => d.rule.startsWith("integer-"))).toBe(true);
    const [y, z] = [await outputsOn(before, feeds), await outputsOn(model, feeds)];
    expect(Math.abs(noise(y, z) / noise(y, planned) - 1)).toBeLessThan(1e-3);
    expect(noise(z, planned)).toBeLessThan(1e-3 * noise(y, planned));
    expect(sqnr(y, z)).toBeGreaterThan(25);
  });

  it.each(SINGLES)(
    "$name: with scales that follow the timestep every step keeps its fidelity",
    async (single) => {
      const feeds = callsOf(single, true);
      const worst = async (options: Options): Promise<number> => {
        const model = modelOf(single, true);
        const before = cloneModel(model);
        // The mean of the weights' error moves with time as well; a bias cannot.
        const given = { guards: false, correctBias: false, ...options };
        const statistics = await statisticsFor(model, given, { feeds, timesteps: TIMESTEPS });
        await quantize(model, given, { statistics });
        const each = [];
        for (const f of feeds) each.push(sqnr(await outputsOn(before, [f]), await outputsOn(model, [f])));
        return Math.min(...each);
      };
      const gathered = await worst({});
      expect(gathered).toBeGreaterThan(30);
      expect(gathered - (await worst({ time: "constant" }))).toBeGreaterThan(5);
    },
  );

  it.each(SINGLES)(
    "$name: one scale for all steps covers them where there is no timestep input",
    async (single) => {
      const feeds = callsOf(single, false);
      const model = modelOf(single, false);
      const before = cloneModel(model);
      const statistics = await statisticsFor(
        model,
        { guards: false, rows: 0 },
        { feeds, timesteps: TIMESTEPS },
      );
      const decisions = await quantize(model, { guards: false, rows: 0 }, { statistics });
      expect(decisions).toContainEqual(expect.objectContaining({ kind: "downgraded", rule: "time-table" }));
      expect(
        sqnr(await outputsOn(before, feeds.slice(0, 1)), await outputsOn(model, feeds.slice(0, 1))),
      ).toBeGreaterThan(30);
    },
  );
});
