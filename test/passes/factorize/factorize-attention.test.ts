import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { attrFloat, type Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { factorizeAttention } from "../../../src/passes/factorize/factorize-attention.ts";
import { feedsOf } from "../quantize/layered.ts";
import { factorize, outputSqnr, run } from "./factorized.ts";

const DIMS = [2, 20, 32];
const [HEADS, WIDTH] = [2, 16];

/** Weights, of `rank` dimensions a head where one is given. */
function weights(seed: number, rank: number | null, side: "in" | "out" = "in"): Tensor {
  const rng = createRng(seed);
  const normal = (n: number): Float32Array => Float32Array.from({ length: n }, () => 0.3 * rng.normal());
  if (rank === null) return f32Tensor(normal(32 * 32), [32, 32]);
  const w = new Float32Array(32 * 32);
  for (let h = 0; h < HEADS; h++) {
    const [outer, inner] = [normal(32 * rank), normal(rank * WIDTH)];
    for (let i = 0; i < 32; i++)
      for (let j = 0; j < WIDTH; j++)
        for (let k = 0; k < rank; k++) {
          const at = side === "in" ? i * 32 + h * WIDTH + j : (h * WIDTH + j) * 32 + i;
          w[at]! += outer[i * rank + k]! * inner[k * WIDTH + j]!;
        }
  }
  return f32Tensor(w, [32, 32]);
}

interface Options {
  readonly standard?: boolean;
  readonly rank?: number | null;
  readonly bias?: boolean;
  /** Multiplies the queries, as a rotation or a norm would. */
  readonly between?: boolean;
}

/** Self attention between matrix products. */
function attention({ standard = false, rank = null, bias = true, between = false }: Options = {}): Model {
  const b = new ModelBuilder({ opset: 23, domains: { "com.microsoft": 1 } });
  const x = b.input("x", "f32", DIMS);
  const project = (name: string, seed: number) => {
    const y = b.node("MatMul", [x, b.constant(weights(seed, rank))], {}, { name });
    return bias ? b.node("Add", [y, b.constant(f32Tensor(biasOf(seed), [32]))]) : y;
  };
  const q = project("q", 1);
  const queries = between ? b.node("Mul", [q, x]) : q;
  const inputs = [queries, project("k", 2), project("v", 3)];
  const y = standard
    ? b.node("Attention", inputs, { q_num_heads: HEADS, kv_num_heads: HEADS }, { name: "attention" })
    : b.node(
        "MultiHeadAttention",
        inputs,
        { num_heads: HEADS },
        { name: "attention", domain: "com.microsoft" },
      );
  const out = b.node("MatMul", [y, b.constant(weights(4, rank, "out"))], {}, { name: "out" });
  return b.output(out, "y", tensorType("f32", DIMS)).build();
}

function biasOf(seed: number): number[] {
  const rng = createRng(seed + 100);
  return Array.from({ length: 32 }, () => rng.normal());
}

async function sqnr(before: Model, after: Model): Promise<number> {
  const of = (r: readonly Map<string, Dense>[]): Dense[] => r.map((m) => m.get("y")!);
  const feeds = feedsOf(DIMS);
  return outputSqnr(of(await run(before, feeds)), of(await run(after, feeds)), { axis: 2, centre: false });
}

const widths = (m: Model): number[] =>
  ["q", "k", "v"].map((name) => {
    const node = [...m.graph.nodes()].find((n) => n.name === name)!;
    return m.graph.constant(node.inputs[1]!)!.dims[1]!;
  });

describe("narrower heads", () => {
  it.each([
    { standard: false, bias: true },
    { standard: true, bias: true },
    { standard: false, bias: false },
  ])("of values leave the output off by as much as predicted: %o", async (o) => {
    const model = attention(o);
    const before = cloneModel(model);
    const decisions = await factorize(model, factorizeAttention, {
      options: { budget: { ratio: 0.75 }, parts: "values" },
      feeds: feedsOf(DIMS),
    });
    expect(widths(model)).toEqual([32, 32, 24]);
    const line = decisions.find((d) => d.rule === "values")!;
    expect(line).toMatchObject({ kind: "applied", from: "width 16", to: "width 12" });
    expect(Math.abs(10 ** ((line.error!.value - (await sqnr(before, model))) / 10) - 1)).toBeLessThan(1e-3);
  });

  it.each([
    { standard: false, bias: true },
    { standard: true, bias: true },
    { standard: false, bias: false },
  ])("with nothing to lose change nothing, the scale included: %o", async (o) => {
    const model = attention({ ...o, rank: 3 });
    const before = cloneModel(model);
    await factorize(model, factorizeAttention, {
      options: { budget: { energy: 0.9999999 } },
      feeds: feedsOf(DIMS),
    });
    // Three dimensions, and a fourth that a bias adds.
    expect(widths(model)).toEqual([4 * HEADS, 4 * HEADS, 4 * HEADS]);
    const node = [...model.graph.nodes()].find((n) => n.name === "attention")!;
    expect(attrFloat(node, "scale")).toBeCloseTo(1 / Math.sqrt(WIDTH), 7);
    expect(inferShapes(model).staticShape(model.graph.outputs[0]!)).toEqual(DIMS);
    expect(await sqnr(before, model)).toBeGreaterThan(60);
  });

  it("of scores cost less where inputs are known than where they count alike", async () => {
    const found: number[] = [];
    for (const weighting of ["activations", "none"] as const) {
      const model = attention();
      const before = cloneModel(model);
      const decisions = await factorize(model, factorizeAttention, {
        options: { budget: { ratio: 0.5 }, parts: "scores", weighting },
        feeds: feedsOf(DIMS),
      });
      expect(decisions.filter((d) => d.kind === "applied").map((d) => d.rule)).toEqual(["scores"]);
      found.push(await sqnr(before, model));
    }
    expect(found[0]!).toBeGreaterThan(found[1]!);
  });

  it("are refused where something lies between projection and scores, and where the budget leaves no room", async () => {
    const turned = attention({ between: true });
    const { version } = turned.graph;
    const decisions = await factorize(turned, factorizeAttention, {});
    expect(decisions).toMatchObject([
      { kind: "skipped", rule: "structure", node: "attention", why: expect.stringMatching(/rotation/) },
    ]);
    expect(turned.graph.version).toBe(version);
    const full = attention();
    const left = await factorize(full, factorizeAttention, { options: { budget: { energy: 0.9999999 } } });
    expect(left.map((d) => [d.kind, d.rule])).toEqual([
      ["downgraded", "weighting"],
      ["skipped", "scores"],
      ["skipped", "values"],
    ]);
  });
});
