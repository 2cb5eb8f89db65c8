import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fixture } from "../../../../fixtures/build/index.ts";
import { denseFrom } from "../../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { cloneModel } from "../../../../src/ir/clone.ts";
import { intsAttr, type Model } from "../../../../src/ir/graph.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import type { Decision } from "../../../../src/passes/pass.ts";
import { quantizeWeights } from "../../../../src/passes/quantize/quantize-weights.ts";
import { apply } from "../../harness.ts";
import {
  type Options,
  outputsOn,
  prepared,
  quantize,
  quantizedFixture,
  sqnr,
  statisticsFor,
} from "./static.ts";

const forced = (decisions: readonly Decision[], rule: RegExp): Decision[] =>
  decisions.filter((d) => d.kind === "forced" && rule.test(d.rule));

/** Every layer named once, each with a reason. */
function expectReported(decisions: readonly Decision[], rule: RegExp): void {
  const found = forced(decisions, rule);
  expect(found.length).toBeGreaterThan(0);
  expect(new Set(found.map((d) => d.node)).size).toBe(found.length);
  for (const d of found) expect(d.why).toMatch(/options (lift|allow)/);
}

const PLANTED = { name: "planted", dims: [4, 64] as const };

/** A layer whose weights are all alike and whose input is at the top of its range: the worst for 16-bit sums. */
function planted(kind: "matmul" | "conv"): Model {
  const b = new ModelBuilder({ opset: 21 });
  const dims = kind === "matmul" ? [...PLANTED.dims] : [1, 64, 4, 4];
  const x = b.input("sample", "f32", dims);
  const w = f32Tensor(
    Array.from({ length: 64 * 16 * (kind === "conv" ? 9 : 1) }, (_, i) => (i % 97 === 0 ? 0.98 : 1)),
    kind === "matmul" ? [64, 16] : [16, 64, 3, 3],
  );
  const y =
    kind === "matmul"
      ? b.node("MatMul", [x, b.constant(w)], {}, { name: "layer" })
      : b.node("Conv", [x, b.constant(w)], { pads: intsAttr([1, 1, 1, 1]) }, { name: "layer" });
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

function highFeeds(kind: "matmul" | "conv") {
  const dims = kind === "matmul" ? [...PLANTED.dims] : [1, 64, 4, 4];
  const n = dims.reduce((a, b) => a * b, 1);
  const x = Float32Array.from({ length: n }, (_, i) => (i % 7 === 0 ? 0.9 : 1));
  return [new Map([["sample", denseFrom("f32", dims, x)]])];
}

/** x86 without a dot product of its own for 8 bits: neighbours are added in 16 bits. */
function addsIn16Bits(): boolean {
  if (process.arch !== "x64" || !existsSync("/proc/cpuinfo")) return false;
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
  return /\bavx2\b/.test(flags) && !/vnni/.test(flags);
}

async function run(kind: "matmul" | "conv", options: Options) {
  const model = planted(kind);
  const before = cloneModel(model);
  const feeds = highFeeds(kind);
  const all = { guards: false, ...options };
  const statistics = await statisticsFor(model, all, { feeds, timesteps: [500] });
  const decisions = await quantize(model, all, { statistics });
  return {
    decisions,
    exact: await outputsOn(before, feeds),
    fast: await outputsOn(model, feeds),
    precise: await outputsOn(model, feeds, { config: { "session.x64quantprecision": "1" } }),
  };
}

describe("planted bad cases", () => {
  it.each(["matmul", "conv"] as const)(
    "%s with saturating weights: right by default, on every processor",
    async (kind) => {
      for (const saturation of ["pairs", "seven-bit"] as const) {
        const { decisions, exact, fast } = await run(kind, { saturation });
        expect(sqnr(exact, fast)).toBeGreaterThan(35);
        expect(forced(decisions, /^saturation$/)).toEqual([]);
      }
    },
  );

  it.each(["matmul", "conv"] as const)("%s with saturating weights, forced: reported", async (kind) => {
    const { decisions } = await run(kind, { saturation: "none" });
    expectReported(decisions, /^saturation$/);
  });

  it.each(["matmul", "conv"] as const)(
    "%s with saturating weights, forced: wrong just where 8-bit products are added in 16 bits",
    async (kind) => {
      const { exact, fast, precise } = await run(kind, { saturation: "none" });
      expect(sqnr(exact, fast) < 15).toBe(addsIn16Bits());
      expect(sqnr(exact, precise)).toBeGreaterThan(35);
    },
  );

  it.each(["tiny-unet", "tiny-dit"])(
    "%s: edges and the time path in 8-bit arithmetic only when forced, and reported",
    async (name) => {
      const standing = await quantizedFixture(name);
      const lifted = await quantizedFixture(name, { guards: false });
      expect(forced(standing.decisions, /./)).toEqual([]);
      const guarded = standing.decisions.filter((d) => d.rule.startsWith("guard-")).map((d) => d.node);
      expect(guarded.length).toBeGreaterThan(2);
      expectReported(lifted.decisions, /^guard-/);
      const quantized = lifted.decisions.filter((d) => d.rule.startsWith("integer-")).map((d) => d.node);
      const reported = forced(lifted.decisions, /^guard-/).map((d) => d.node);
      expect([...reported].sort()).toEqual(guarded.filter((n) => quantized.includes(n)).sort());
    },
  );

  it("time path at 4 bits only when forced, and reported", async () => {
    const options = { format: "w4", minElements: 1 };
    const standing = await apply(await prepared(fixture("tiny-unet")), [quantizeWeights as never, options]);
    expect(forced(standing, /-lifted$/)).toEqual([]);
    const time = forced(standing, /^guard-time$/);
    expect(time.map((d) => d.to)).toEqual(time.map(() => "w8"));
    expect(time.length).toBeGreaterThan(0);
    const lifted = await apply(await prepared(fixture("tiny-unet")), [
      quantizeWeights as never,
      { ...options, sensitive: "none", edges: "none" },
    ]);
    for (const rule of [/^guard-time-lifted$/, /^guard-edge-lifted$/]) expectReported(lifted, rule);
  });

  it("norm parameters: no option quantizes them", async () => {
    const vectors = (m: Model): string[] =>
      [...m.graph.nodes()]
        .filter((n) => /Normalization$/.test(n.op))
        .flatMap((n) => n.inputs.slice(1).map((id) => m.graph.constant(id)?.dtype ?? "computed"));
    const model = await prepared(fixture("tiny-unet"));
    const before = vectors(model);
    expect(before.length).toBeGreaterThan(3);
    const everything = { format: "w4", minElements: 1, sensitive: "none", edges: "none" };
    await apply(model, [quantizeWeights as never, everything]);
    expect(vectors(model)).toEqual(before);
    const { model: fixed, before: float } = await quantizedFixture("tiny-unet", { guards: false });
    expect(vectors(fixed)).toEqual(vectors(float));
  });
});
