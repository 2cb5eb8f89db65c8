import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { attrInt, type Model } from "../../../src/ir/graph.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { expandBlocks } from "../../../src/numeric/quantize/expanded.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { quantizeExpanded } from "../../../src/runtime/kernels/quantize-expanded.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { resolveTargets, target, targets } from "../../../src/targets/index.ts";
import { denseOf, numbersOf, weights } from "../../runtime/kernels/evaluate.ts";
import { runtime } from "../harness.ts";
import { behind, built, FEEDS, named, numbers, rules } from "./built.ts";
import { denoiser } from "./denoiser.ts";
import { outputsOn, quantize } from "./quantized.ts";

const FOUR = { weights: 4 } as const;
const [ROWS, K, N] = [6, 64, 8];

/** A linear layer of 64 inputs as a product or as a Gemm with a transposed weight, its bias inside or behind. */
function layer(op: "MatMul" | "Gemm", w: Float32Array, bias: Float32Array): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [ROWS, K]);
  const turned = w.map((_, i) => w[(i % K) * N + Math.floor(i / K)]!);
  const y =
    op === "MatMul"
      ? b.node("Add", [
          b.node("MatMul", [x, b.constant(f32Tensor(w, [K, N]))], {}, { name: "layer" }),
          b.constant(f32Tensor(bias)),
        ])
      : b.node(
          "Gemm",
          [x, b.constant(f32Tensor(turned, [N, K])), b.constant(f32Tensor(bias))],
          { transB: 1 },
          { name: "layer" },
        );
  return b.output(y, "y", tensorType("f32", [ROWS, N])).build();
}

/** Scale and zero point of a conversion. */
async function gridOf(model: Model, name: string, op: string): Promise<{ scale: number; zero: number }> {
  const node = [...model.graph.nodes()].find((n) => n.op === op && n.name.startsWith(name))!;
  const [scale, zero] = [1, 2].map((i) => model.graph.constant(node.inputs[i])!);
  return { scale: (await numbers(scale!))[0]!, zero: (await numbers(zero!))[0]! };
}

const even = (n: number): Tensor => f32Tensor(new Float32Array(n).fill(1));

describe("blocks with integer scales", () => {
  it("take hand-computed bytes: integers low half first, scales in bytes, units in float", async () => {
    // Two outputs of two blocks of 4: one reaches 7 · 15, then 7 · 1; the other is 0, then reaches 7 · 15 · 0.5.
    const rows = [
      [105, -90, 15, 0, 7, -3, 1, 2],
      [0, 0, 0, 0, 52.5, -7.5, 0, 22.5],
    ];
    const q = quantizeExpanded(f32Tensor(rows.flat(), [2, 8]), { inAxis: 1, block: 4, factor: even(8) });
    expect([q.data.dtype, q.scale.dtype, q.scale.dims, q.unit.dims]).toEqual(["i4", "u8", [2, 2], [2]]);
    expect([...(await denseOf(q.data)).bytes]).toEqual([0xa7, 0x01, 0xd7, 0x21, 0x00, 0x00, 0xf7, 0x30]);
    expect([...(await denseOf(q.scale)).bytes]).toEqual([15, 1, 1, 15]);
    expect(await numbersOf(q.unit)).toEqual([1, 0.5]);
    const columns = rows[0]!.flatMap((v, i) => [v, rows[1]![i]!]);
    const t = quantizeExpanded(f32Tensor(columns, [8, 2]), { inAxis: 0, block: 4, factor: even(8) });
    expect([...(await denseOf(t.scale)).bytes]).toEqual([15, 1, 1, 15]);
    expect([...(await denseOf(t.data)).bytes]).toEqual([0x07, 0x0a, 0x01, 0x00, 0x77, 0xfd, 0x01, 0x32]);
  });

  it("have the scale with the least error of all fifteen, and never clip the widest block", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.integer({ min: -20, max: 20 }), (seed, e) => {
        const row = weights(48, seed).map((v, i) => v * 2 ** e * (i < 16 ? 1 : i < 32 ? 0.1 : 4));
        const { unit, scale, q } = expandBlocks(row, 16);
        const error = (b: number, s: number): number =>
          [...row.slice(16 * b, 16 * b + 16)].reduce((sum, v) => {
            const step = Math.fround(s * unit);
            return sum + (Math.max(-7, Math.min(7, Math.round(v / step))) * step - v) ** 2;
          }, 0);
        for (const [b, s] of scale.entries()) {
          const all = Array.from({ length: 15 }, (_, i) => error(b, i + 1));
          expect(error(b, s)).toBe(Math.min(...all));
          const own = row
            .slice(16 * b, 16 * b + 16)
            .reduce((sum, v, k) => sum + (q[16 * b + k]! * Math.fround(s * unit) - v) ** 2, 0);
          expect(own).toBe(error(b, s));
        }
        expect(Math.max(...row.map(Math.abs)) / (7 * 15 * unit)).toBeCloseTo(1, 5);
      }),
    );
  });
});

describe("4-bit weights of linear layers", () => {
  it.each(["MatMul", "Gemm"] as const)("%s: computes what plain loops compute, optimised too", async (op) => {
    for (const seed of [1, 2, 3]) {
      const rng = createRng(seed, "expanded");
      const draw = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
      const [w, bias, x] = [draw(K * N), draw(N), draw(ROWS * K)];
      const feeds = new Map([["x", denseFrom("f32", [ROWS, K], x)]]);
      const model = layer(op, w, bias);
      await quantize(model, quantizeStatic, {
        options: { ...FOUR, minElements: 1, guards: false, correctBias: false, faster: false },
        target: target("qnn-htp"),
        calls: [{ timestep: 0, feeds }],
      });
      const node = named(model, "layer");
      const { dq, constant } = behind(model, node, 1);
      const inner = model.graph.producer(dq.inputs[1])!;
      // A product reads [K, N] in blocks along 0, a Gemm [N, K] along 1; units run along the other axis.
      const inAxis = op === "MatMul" ? 0 : 1;
      expect([attrInt(dq, "axis"), attrInt(dq, "block_size")]).toEqual([inAxis, 32]);
      expect([inner.op, attrInt(inner, "axis")]).toEqual(["DequantizeLinear", 1 - inAxis]);
      expect(constant(0).dims).toEqual(op === "MatMul" ? [K, N] : [N, K]);
      const scales = model.graph.constant(inner.inputs[0])!;
      expect([constant(0).dtype, constant(2).dtype, constant(2).dims]).toEqual(["i4", "i4", scales.dims]);
      expect((await numbers(constant(2))).every((z) => z === 0)).toBe(true);
      expect(node.inputs.length).toBe(2);
      const input = await gridOf(model, `q${model.graph.inputs[0]!}`, "QuantizeLinear");
      const result = model.graph.node(model.graph.users(node.outputs[0]!)[0]!)!;
      const [rs, rz] = [1, 2].map((i) => model.graph.constant(result.inputs[i])!);
      const out = { scale: (await numbers(rs!))[0]!, zero: (await numbers(rz!))[0]! };
      const onGrid = (v: number, g: typeof out): number =>
        (Math.min(65535, Math.max(0, Math.round(v / g.scale) + g.zero)) - g.zero) * g.scale;
      const rows = Array.from({ length: N }, (_, n) =>
        expandBlocks(
          Float32Array.from({ length: K }, (_v, k) => w[k * N + n]!),
          32,
        ),
      );
      const options = [{ optimize: "disable" }, { optimize: "all", arithmetic: "reference" }] as const;
      for (const how of options) {
        const [found] = await outputsOn(model, [feeds], how);
        for (let r = 0; r < ROWS; r++)
          for (const [n, { unit, scale, q }] of rows.entries()) {
            let sum = 0;
            for (let k = 0; k < K; k++)
              sum += onGrid(x[r * K + k]!, input) * q[k]! * scale[Math.floor(k / 32)]! * unit;
            const expected = onGrid(sum, out) + bias[n]!;
            // Rounding a sum that lies between two levels may go either way.
            expect(Math.abs(found![r * N + n]! - expected)).toBeLessThanOrEqual(out.scale * 1.01);
          }
      }
    }
  });

  it("stand in the layers whose inputs blocks divide; the others keep 8 bits, with a reason", async () => {
    const { model, decisions } = await built(FOUR, target("qnn-htp"));
    // "linear" sums 24 inputs, "back" 48 and "gemm" 16: no multiples of 32.
    expect(decisions.filter((d) => d.to === "a16w8").map((d) => d.node)).toEqual([
      "conv",
      "linear",
      "back",
      "gemm",
    ]);
    for (const d of decisions.filter((d) => d.to === "a16w8"))
      expect(d.why).toMatch(d.node === "conv" ? /linear layers/ : /multiple of 32/);
    const plain = await built({}, target("qnn-htp"));
    expect(await outputsOn(model, FEEDS)).toEqual(await outputsOn(plain.model, FEEDS));
  });

  it("are 8 bits elsewhere, beside 8-bit activations and below opset 21, and the report says so", async () => {
    const others = targets.filter((t) => t.integer !== null && t.integer.expandedBlock === undefined);
    for (const [options, t, opset] of [
      ...others.map((t) => [FOUR, t, 21] as const),
      [{ ...FOUR, bits: 8 }, target("qnn-htp"), 21] as const,
      [FOUR, target("qnn-htp"), 17] as const,
    ]) {
      const { decisions } = await built({ ...options, faster: false }, t, denoiser(opset));
      expect(rules(decisions, "downgraded"), t.id).toContain("weights");
      expect(decisions.some((d) => d.to?.endsWith("w4"))).toBe(false);
    }
  });

  it.each(["MatMul", "Gemm"] as const)(
    "%s: the checker takes it as quantized, scales included",
    async (op) => {
      const rng = createRng(5, "expanded");
      const draw = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
      const model = layer(op, draw(K * N), draw(N));
      const feeds = new Map([["x", denseFrom("f32", [ROWS, K], draw(ROWS * K))]]);
      const decisions = await quantize(model, quantizeStatic, {
        options: { ...FOUR, minElements: 1, guards: false },
        target: target("qnn-htp"),
        calls: [{ timestep: 0, feeds }],
      });
      expect(decisions).toContainEqual(expect.objectContaining({ node: "layer", to: "a16w4" }));
      const { reader } = await runtime();
      for (const id of ["qnn-htp", "qnn-htp:v75+"]) {
        const [check] = await checkModel(model, resolveTargets([id]), { reader });
        expect(check!.findings.filter((f) => f.severity !== "slow")).toEqual([]);
        const product = check!.nodes.find((n) => n.op === op)!;
        expect(product.verdict).toBe("quantized");
        expect(check!.nodes.filter((n) => n.op === "DequantizeLinear" && /^w/.test(n.node))).toMatchObject([
          { verdict: "quantized" },
          { verdict: "quantized" },
        ]);
      }
    },
  );
});
