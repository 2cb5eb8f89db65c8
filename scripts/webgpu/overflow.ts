import { denseFrom, floats, observeRanges } from "../../src/calibrate/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor, type Tensor } from "../../src/ir/tensor.ts";
import { createRng, gaussian } from "../../src/numeric/rng.ts";
import { convertFloat } from "../../src/passes/convert/convert-float.ts";
import type { Pass, RangeStatistics } from "../../src/passes/pass.ts";
import { runPass } from "../../src/passes/runner.ts";
import type { Runtime, SessionOptions } from "../../src/runtime/index.ts";
import { resolveTargets } from "../../src/targets/index.ts";
import { sqnr } from "../../src/verify/metrics/sqnr.ts";

/** What half precision does to a model with a planted overflow, at one optimisation level of the runtime. */
export interface OverflowRow {
  readonly name: string;
  readonly optimize: "all" | "disable";
  /** Largest magnitude on the way, in fp32. */
  readonly peak: number;
  /** dB against fp32 on the CPU provider, converted without ranges; `null` when infinite or not a number. */
  readonly plain: number | null;
  /** The same with islands chosen from the ranges. */
  readonly islands: number | null;
  /** Nodes the islands hold. */
  readonly kept: number;
}

const WIDTH = 64;

function weight(name: string, dims: readonly number[], scale: number): Tensor {
  const count = dims.reduce((n, d) => n * d, 1);
  const values = Float32Array.from(gaussian(createRng(0, "overflow", name), count), (v) => v * scale);
  return f32Tensor(values, [...dims]);
}

interface Planted {
  readonly name: string;
  readonly input: readonly number[];
  build(b: ModelBuilder, x: ValueId): ValueId;
}

const scalar = (b: ModelBuilder, v: number): ValueId => b.constant(f32Tensor(Float32Array.of(v), []));

/** Finite in fp32 with ordinary inputs and outputs; in between a value beyond 65,504. */
const PLANTED: readonly Planted[] = [
  {
    name: "a product that is scaled down after",
    input: [1, 16, WIDTH],
    build: (b, x) => {
      const dense = (from: ValueId, name: string, scale: number): ValueId =>
        b.node("MatMul", [from, b.constant(weight(name, [WIDTH, WIDTH], scale))]);
      const large = dense(dense(x, "before", 0.125), "up", 5000);
      return dense(b.node("Mul", [large, scalar(b, 1e-5)]), "after", 0.125);
    },
  },
  {
    name: "attention scores before their scale",
    input: [1, 16, WIDTH],
    build: (b, x) => {
      const of = (name: string, scale: number): ValueId =>
        b.node("MatMul", [x, b.constant(weight(name, [WIDTH, WIDTH], scale))]);
      const keys = b.node("Transpose", [of("keys", 10)], { perm: [0, 2, 1] });
      const scores = b.node("MatMul", [of("queries", 10), keys]);
      const chances = b.node("Softmax", [b.node("Mul", [scores, scalar(b, 2e-5)])], { axis: -1 });
      return b.node("MatMul", [chances, of("values", 0.125)]);
    },
  },
  {
    name: "a convolution whose factor the runtime may fold",
    input: [1, 8, 8, 8],
    build: (b, x) => {
      const conv = (from: ValueId, name: string, scale: number): ValueId =>
        b.node("Conv", [from, b.constant(weight(name, [8, 8, 3, 3], scale))], { pads: [1, 1, 1, 1] });
      const large = conv(conv(x, "before", 0.12), "kernel", 6000);
      return conv(b.node("Mul", [large, scalar(b, 1e-5)]), "after", 0.12);
    },
  },
];

function modelOf(p: Planted): Model {
  const b = new ModelBuilder({ opset: 21 });
  const out = p.build(b, b.input("x", "f32", [...p.input]));
  return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: [...p.input] }).build();
}

/** The model in half precision as target webgpu gets it, and how many nodes stayed in fp32. */
async function halved(runtime: Runtime, p: Planted, ranges: RangeStatistics | null) {
  const model = modelOf(p);
  const report = await runPass(
    model,
    convertFloat as Pass,
    { to: "f16", use: "compute", minElements: 1, force: false },
    {
      evaluator: runtime.evaluator,
      reader: runtime.reader,
      target: resolveTargets(["webgpu"])[0]!,
      seed: 0,
      ranges,
      trail: [],
    },
  );
  const islands = report?.decisions.filter((d) => d.rule === "f32-island-range") ?? [];
  return { model, kept: islands.reduce((n, d) => n + (d.count ?? 1), 0) };
}

async function outputOf(
  runtime: Runtime,
  model: Model,
  feeds: ReadonlyMap<string, Dense>,
  o: SessionOptions,
) {
  const session = await runtime.openSession(model, o);
  try {
    return floats((await session.run(feeds)).get("y")!);
  } finally {
    await session.release();
  }
}

/** Runs every planted overflow in half precision on the provider of `gpu`, with islands and without. */
export async function* overflowRows(runtime: Runtime, gpu: SessionOptions): AsyncGenerator<OverflowRow> {
  for (const p of PLANTED) {
    const count = p.input.reduce((n, d) => n * d, 1);
    const feeds = new Map([
      ["x", denseFrom("f32", p.input, gaussian(createRng(0, "overflow input"), count))],
    ]);
    const exact = await outputOf(runtime, modelOf(p), feeds, {});
    const ranges = await observeRanges(modelOf(p), runtime, [feeds]);
    const plain = await halved(runtime, p, null);
    const islands = await halved(runtime, p, ranges);
    for (const optimize of ["all", "disable"] as const) {
      const judged = async (model: Model): Promise<number | null> => {
        const found = await outputOf(runtime, model, feeds, { ...gpu, optimize });
        return found.every(Number.isFinite) ? sqnr(exact, found) : null;
      };
      yield {
        name: p.name,
        optimize,
        peak: Math.max(...[...ranges.entries.values()].map((r) => r.absMax)),
        plain: await judged(plain.model),
        islands: await judged(islands.model),
        kept: islands.kept,
      };
    }
  }
}
