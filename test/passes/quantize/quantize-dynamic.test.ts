import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/index.ts";
import { DiffpressError } from "../../../src/diagnostics/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, Node } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import {
  type QuantizeDynamicOptions,
  quantizeDynamic,
} from "../../../src/passes/quantize/quantize-dynamic.ts";
import { optimizedOps } from "../../../src/runtime/optimized.ts";
import { target } from "../../../src/targets/index.ts";
import type { Target } from "../../../src/targets/target.ts";
import { ops, runtime } from "../harness.ts";
import { CALLS, denoiser } from "./denoiser.ts";
import { outputsOn, quantize, sqnr } from "./quantized.ts";

const FEEDS = CALLS.map((c) => c.feeds);
const CPU = target("cpu-x64");
const OP = "com.microsoft:DynamicQuantizeMatMul";

const apply = (model: Model, options: Partial<QuantizeDynamicOptions> = {}, t: Target | null = CPU) =>
  quantize(model, quantizeDynamic, { options: { minElements: 64, ...options }, target: t, calls: CALLS });

describe("quantize-dynamic", () => {
  it("replaces linear layers, biases included, and leaves convolutions and edges", async () => {
    const model = denoiser();
    const decisions = await apply(model);
    expect(decisions.map((d) => `${d.kind} ${d.rule} ${d.node}`)).toEqual([
      "skipped guard-edge first",
      "skipped guard-edge last",
      "skipped operator conv",
      "applied dynamic-matmul linear",
      "applied dynamic-matmul back",
      "applied dynamic-matmul gemm",
    ]);
    expect(ops(model).filter((op) => op === OP).length).toBe(3);
    for (const op of ["MatMul", "Gemm"]) expect(ops(model)).not.toContain(op);
    const dynamic = [...model.graph.nodes()].filter((n: Node) => n.op === "DynamicQuantizeMatMul");
    expect(dynamic.map((n) => n.inputs.length)).toEqual([5, 3, 5]);
    for (const n of dynamic) {
      const [w, scale] = [model.graph.constant(n.inputs[1]!)!, model.graph.constant(n.inputs[2]!)!];
      expect([w.dtype, scale.dims]).toEqual(["i8", [w.dims[1]]]);
    }
  });

  it("follows a moving range without calibration, optimised or not", async () => {
    const exact = await outputsOn(denoiser(), FEEDS);
    const model = denoiser();
    await apply(model);
    const plain = await outputsOn(model, FEEDS);
    for (const [i, e] of exact.entries()) expect(sqnr([e], [plain[i]!])).toBeGreaterThan(28);
    expect(sqnr(plain, await outputsOn(model, FEEDS, { optimize: "all" }))).toBeGreaterThan(100);
    const found = await optimizedOps(await runtime(), model, { optimize: "all" });
    expect(found.get(OP)).toBe(3);
  });

  it("needs as many rows as asked; symbolic lengths may be 1", async () => {
    const product = (rows: readonly (number | string)[]): Model => {
      const b = new ModelBuilder({ opset: 21 });
      const x = b.node("Relu", [b.input("x", "f32", [...rows, 16])]);
      const w = b.constant(f32Tensor(new Float32Array(128).fill(0.5), [16, 8]));
      const y = b.node("MatMul", [x, w], {}, { name: "layer" });
      return b.output(y, "y", tensorType("f32", [...rows, 8])).build();
    };
    const decided = async (rows: readonly (number | string)[]): Promise<string> => {
      const all = await apply(product(rows), { guards: false, minRows: 16 });
      const d = all.find((x) => x.node === "layer")!;
      return `${d.rule}: ${d.why ?? ""}`;
    };
    expect(await decided([2, 8])).toBe("dynamic-matmul: ");
    expect(await decided(["batch", 16])).toBe("dynamic-matmul: ");
    expect(await decided([15])).toBe("min-rows: it has 15 rows, fewer than 16");
    expect(await decided(["batch", 4])).toContain("not known to have 16 rows");
  });

  it.each([
    [null, "without a target"],
    [target("webgpu"), target("webgpu").integerWhy!],
    [target("qnn-htp"), "the target does not run the operator"],
  ])("does nothing where the operator does not run, and says why (%#)", async (t, why) => {
    const model = denoiser();
    const before = ops(model);
    const decisions = await apply(model, {}, t);
    expect(decisions).toMatchObject([{ kind: "downgraded", rule: "no-dynamic" }]);
    expect(decisions[0]!.why).toContain(why);
    expect(ops(model)).toEqual(before);
  });

  it("reports lifted guards and bad patterns", async () => {
    const decisions = await apply(denoiser(), { guards: false });
    expect(decisions).toContainEqual(expect.objectContaining({ kind: "forced", rule: "guards" }));
    const failed = apply(denoiser(), { match: "(" });
    await expect(failed).rejects.toBeInstanceOf(DiffpressError);
    await expect(failed).rejects.toMatchObject({ code: "OPTION_PATTERN_INVALID" });
  });

  it("sums exactly whatever the weights: no pair of products saturates", async () => {
    const [M, K, N] = [16, 32, 4];
    const steep = fc.oneof(fc.constantFrom(-1, 1), fc.double({ min: -1, max: 1, noNaN: true }));
    const numbers = (of: fc.Arbitrary<number>, n: number) => fc.array(of, { minLength: n, maxLength: n });
    await fc.assert(
      fc.asyncProperty(
        numbers(steep, K * N),
        numbers(fc.constantFrom(0, 1, 128, 254, 255), M * K),
        async (w, a) => {
          // Extremes 0 and 255 make the runtime's scale exactly 1.
          const x = [0, 255, ...a.slice(2)];
          const b = new ModelBuilder({ opset: 21 });
          const y = b.node("MatMul", [b.input("x", "f32", [M, K]), b.constant(f32Tensor(w, [K, N]))]);
          const model = b.output(y, "y", tensorType("f32", [M, N])).build();
          await apply(model, { guards: false, minElements: 1 });
          const node = [...model.graph.nodes()].find((n) => n.op === "DynamicQuantizeMatMul")!;
          const { reader } = await runtime();
          const q = new Int8Array(await reader.read(model.graph.constant(node.inputs[1]!)!));
          const scale = new Float32Array(
            (await reader.read(model.graph.constant(node.inputs[2]!)!)).slice().buffer,
          );
          const [got] = await outputsOn(model, [
            new Map([["x", denseFrom("f32", [M, K], Float32Array.from(x))]]),
          ]);
          for (let m = 0; m < M; m++)
            for (let n = 0; n < N; n++) {
              let sum = 0;
              for (let k = 0; k < K; k++) sum += x[m * K + k]! * q[k * N + n]!;
              const want = sum * scale[n]!;
              expect(Math.abs(got![m * N + n]! - want)).toBeLessThanOrEqual(1e-6 * Math.abs(want) + 1e-6);
            }
        },
      ),
      { numRuns: 40 },
    );
  });
});
