import { describe, expect, it } from "vitest";
import { denseFrom } from "../../src/calibrate/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import { elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { createRng } from "../../src/numeric/rng.ts";
import { factorizeAttention } from "../../src/passes/factorize/factorize-attention.ts";
import { factorizeConv } from "../../src/passes/factorize/factorize-conv.ts";
import { factorizeLinear } from "../../src/passes/factorize/factorize-linear.ts";
import type { Decision, Pass } from "../../src/passes/pass.ts";
import { runPass } from "../../src/passes/runner.ts";
import { shareBases } from "../../src/passes/share/share-bases.ts";
import { sparsifyWeights } from "../../src/passes/sparsify/sparsify-weights.ts";
import { outputSqnr, run } from "./factorize/factorized.ts";
import { runtime } from "./harness.ts";
import { feedsOf, LAYERS, modelOf } from "./quantize/layered.ts";
import { returning, statisticsOver } from "./quantize/statistics.ts";

type Feeds = readonly ReadonlyMap<string, Dense>[];

function normal(count: number, seed: number): Float32Array {
  const rng = createRng(seed, "held out");
  return Float32Array.from({ length: count }, () => rng.normal());
}

/** Inputs of another distribution than those of `feedsOf`, in few directions and off centre. */
function otherFeeds(dims: readonly number[], name = "x"): Feeds {
  return [11, 12].map((seed) => {
    const x = normal(elementCount(dims), seed).map((v, i) => (i % 3 === 0 ? 2 * v : 0.3 * v) + 0.4);
    return new Map([[name, denseFrom("f32", dims, x)]]);
  });
}

const constant = (b: ModelBuilder, dims: readonly number[], seed: number): ValueId =>
  b.constant(
    f32Tensor(
      normal(elementCount(dims), seed).map((v) => 0.3 * v),
      dims,
    ),
  );

const single = (name: string): { readonly model: Model; readonly dims: readonly number[] } => ({
  model: modelOf(LAYERS[name]!),
  dims: LAYERS[name]!.dims,
});

/** Decisions of a pass fitted to some inputs and priced on others as well. */
async function fitted(
  model: Model,
  pass: unknown,
  o: { readonly options: object; readonly feeds: Feeds; readonly held: Feeds | null },
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const p = pass as Pass;
  const properties = p.options["properties"] as Record<string, { default?: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  const options = { ...defaults, ...o.options };
  const shapes = () => inferShapes(model);
  const request = p.wantsStatistics!(model.graph, options, { model, target: null, shapes })!;
  const { held } = o;
  const report = await runPass(model, p, options, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target: null,
    seed: 0,
    ranges: null,
    statistics: await statisticsOver(model, request, o.feeds, rt),
    heldOut:
      held === null
        ? null
        : { collect: async (of, asked) => await statisticsOver(cloneModel(of), asked, held, rt) },
    trail: [],
  });
  return report!.decisions;
}

const errorsOf = (decisions: readonly Decision[], rule: RegExp) =>
  decisions
    .filter((d) => d.kind === "applied" && rule.test(d.rule) && d.error !== undefined)
    .map((d) => d.error!);

const outputs = async (model: Model, feeds: Feeds): Promise<Dense[]> =>
  (await run(model, feeds)).map((m) => m.get("y")!);

const PLAIN = { guards: false, minElements: 16 };

const SINGLE: readonly [string, string, unknown, object][] = [
  ["factorize-linear", "MatMul", factorizeLinear, { ...PLAIN, budget: { rank: 8 } }],
  ["factorize-linear", "Gemm", factorizeLinear, { ...PLAIN, budget: { rank: 8 } }],
  ["factorize-linear", "Conv", factorizeLinear, { ...PLAIN, budget: { rank: 8 } }],
  ["factorize-conv", "Conv", factorizeConv, { ...PLAIN, budget: { ratio: 0.4 } }],
  ["sparsify-weights", "MatMul", sparsifyWeights, PLAIN],
  ["sparsify-weights", "Gemm", sparsifyWeights, PLAIN],
  ["sparsify-weights", "Conv", sparsifyWeights, PLAIN],
];

describe("errors on inputs nothing was fitted to", () => {
  it.each(SINGLE)("%s of a %s: what is reported is what comes out", async (_n, kind, pass, options) => {
    const { model, dims } = single(kind);
    const before = cloneModel(model);
    const held = otherFeeds(dims);
    const [error] = errorsOf(await fitted(model, pass, { options, feeds: feedsOf(dims), held }), /./);
    const { axis, bias } = LAYERS[kind]!;
    const direct = async (feeds: Feeds): Promise<number> =>
      outputSqnr(await outputs(before, feeds), await outputs(model, feeds), { axis, centre: bias });
    expect(error!.heldOut).toBeCloseTo(await direct(held), 2);
    expect(error!.value).toBeCloseTo(await direct(feedsOf(dims)), 2);
    expect(Math.abs(error!.heldOut! - error!.value)).toBeGreaterThan(0.1);
  });

  it.each(SINGLE)(
    "%s of a %s: equals the prediction on the inputs of the fit",
    async (_n, kind, pass, options) => {
      const { model, dims } = single(kind);
      const feeds = feedsOf(dims);
      const [error] = errorsOf(await fitted(model, pass, { options, feeds, held: feeds }), /./);
      expect(error!.heldOut).toBeCloseTo(error!.value, 2);
    },
  );

  it("is left out where nothing is held out", async () => {
    const { model, dims } = single("MatMul");
    const o = { options: { ...PLAIN, budget: { rank: 8 } }, feeds: feedsOf(dims), held: null };
    const [error] = errorsOf(await fitted(model, factorizeLinear, o), /./);
    expect(error).toEqual({ metric: "sqnr-db", value: error!.value });
  });

  it("share-bases: of all layers of a group together", async () => {
    const dims = [40, 48];
    const b = new ModelBuilder({ opset: 17 });
    const still = (v: ValueId, n: number, name: string): ValueId =>
      b.node("MatMul", [v, constant(b, [n, n], 9)], {}, { name });
    const x = b.input("x", "f32", dims);
    const h = b.node("Tanh", [still(still(x, 48, "first"), 48, "second")]);
    const low = b.node("MatMul", [h, constant(b, [48, 10], 1)], {}, { name: "low" });
    const up = b.node("MatMul", [low, constant(b, [10, 48], 2)], {}, { name: "up" });
    const ys = [64, 40].map((n, i) =>
      b.node("MatMul", [up, constant(b, [48, n], 3 + i)], {}, { name: `part ${i}` }),
    );
    const joined = b.node("Concat", ys, { axis: 1 });
    const model = b.output(still(joined, 104, "last"), "z", tensorType("f32", null)).build();
    const { name } = model.graph.value(joined);
    const parts = async (m: Model, feeds: Feeds): Promise<Dense[]> =>
      (await run(returning(m, [name]), feeds)).map((found) => found.get(name)!);
    const before = cloneModel(model);
    const held = otherFeeds(dims);
    const options = { sqnr: 12, match: "^part" };
    const [error] = errorsOf(
      await fitted(model, shareBases, { options, feeds: feedsOf(dims), held }),
      /shared/,
    );
    const [exact, found] = [await parts(before, held), await parts(model, held)];
    expect(error!.heldOut).toBeCloseTo(outputSqnr(exact, found, { axis: 1, centre: false }), 2);
    expect(error!.heldOut).not.toBeCloseTo(error!.value, 1);
  });

  describe("factorize-attention", () => {
    const DIMS = [2, 12, 32];
    const [HEADS, WIDTH] = [2, 16];

    function attention(): Model {
      const b = new ModelBuilder({ opset: 23, domains: { "com.microsoft": 1 } });
      const x = b.input("x", "f32", DIMS);
      const inputs = ["q", "k", "v"].map((name, i) => {
        const y = b.node("MatMul", [x, constant(b, [32, 32], i)], {}, { name });
        return b.node("Add", [y, constant(b, [32], 20 + i)]);
      });
      const joined = b.node(
        "MultiHeadAttention",
        inputs,
        { num_heads: HEADS },
        { name: "attention", domain: "com.microsoft" },
      );
      const y = b.node("MatMul", [joined, constant(b, [32, 32], 30)], {}, { name: "out" });
      return b.output(y, "y", tensorType("f32", DIMS)).build();
    }

    it("values: the output projection's, as it comes out", async () => {
      const model = attention();
      const before = cloneModel(model);
      const held = otherFeeds(DIMS);
      const options = { budget: { ratio: 0.5 }, parts: "values" };
      const decisions = await fitted(model, factorizeAttention, { options, feeds: feedsOf(DIMS), held });
      const [error] = errorsOf(decisions, /values/);
      const direct = outputSqnr(await outputs(before, held), await outputs(model, held), {
        axis: 2,
        centre: false,
      });
      expect(error!.heldOut).toBeCloseTo(direct, 2);
      expect(error!.heldOut).not.toBeCloseTo(error!.value, 1);
    });

    it("scores: those of all pairs of held-out queries and keys", async () => {
      const model = attention();
      const before = cloneModel(model);
      const held = otherFeeds(DIMS);
      const options = { budget: { ratio: 0.5 }, parts: "scores" };
      const decisions = await fitted(model, factorizeAttention, { options, feeds: feedsOf(DIMS), held });
      const [error] = errorsOf(decisions, /scores/);
      const rows = async (m: Model, input: number): Promise<Float64Array[][]> => {
        const node = [...m.graph.nodes()].find((n) => n.name === "attention")!;
        const { name } = m.graph.value(node.inputs[input]!);
        const found = await run(returning(m, [name]), held);
        const width = found[0]!.get(name)!.dims.at(-1)! / HEADS;
        return Array.from({ length: HEADS }, (_, h) =>
          found.flatMap((f) => {
            const data = new Float32Array(f.get(name)!.bytes.slice().buffer);
            const count = data.length / (width * HEADS);
            return Array.from({ length: count }, (_, p) =>
              Float64Array.from(
                data.subarray(p * width * HEADS + h * width, p * width * HEADS + (h + 1) * width),
              ),
            );
          }),
        );
      };
      const [q, k] = [await rows(before, 0), await rows(before, 1)];
      const [r, l] = [await rows(model, 0), await rows(model, 1)];
      const dot = (a: Float64Array, b: Float64Array): number => a.reduce((s, v, i) => s + v * b[i]!, 0);
      let [signal, noise] = [0, 0];
      for (let h = 0; h < HEADS; h++)
        for (const i of q[h]!.keys())
          for (const j of k[h]!.keys()) {
            const s = dot(q[h]![i]!, k[h]![j]!);
            signal += s * s;
            noise += (s - dot(r[h]![i]!, l[h]![j]!)) ** 2;
          }
      expect(l[0]![0]!.length).toBeLessThan(WIDTH);
      expect(error!.heldOut).toBeCloseTo(10 * Math.log10(signal / noise), 2);
      expect(error!.heldOut).not.toBeCloseTo(error!.value, 1);
    });
  });
});
