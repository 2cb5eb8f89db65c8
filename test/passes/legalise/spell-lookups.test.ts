import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { feedsFor, fixture } from "../../../fixtures/build/index.ts";
import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { DType } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { fileReader } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { passGroups, resolvePass } from "../../../src/passes/index.ts";
import { spellLookups } from "../../../src/passes/legalise/spell-lookups.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { castTensor } from "../../../src/runtime/kernels/cast.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { target } from "../../../src/targets/index.ts";
import { finishPlan, legalisePlan } from "../../../src/targets/legalise.ts";
import { run } from "../../targets/harness.ts";
import { ops, runtime } from "../harness.ts";

/** A target whose provider has no Gather, Expand or Less. */
const coreml = target("coreml");

type Make = (b: ModelBuilder, x: ValueId) => ValueId;

function model(dtype: DType, dims: readonly number[], make: Make): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", dtype, [...dims]);
  return b.output(make(b, x), "y", null).build();
}

async function spelled(m: Model, on = coreml): Promise<{ model: Model; decisions: readonly Decision[] }> {
  const out = cloneModel(m);
  const decisions = await run(out, spellLookups, {}, { target: on });
  await run(out, removeDead);
  return { model: out, decisions };
}

async function outputOf(m: Model, feeds: ReadonlyMap<string, Dense>): Promise<Dense> {
  return [...(await (await runtime()).evaluator.run(m, feeds)).values()][0]!;
}

/** Runs both models, and on the second the optimised session too: the same numbers, zeros of either sign. */
async function expectSame(before: Model, after: Model, x: Dense): Promise<void> {
  const feeds = new Map([["x", x]]);
  const want = await outputOf(before, feeds);
  const session = await (await runtime()).openSession(after, { optimize: "all" });
  for (const got of [await outputOf(after, feeds), [...(await session.run(feeds)).values()][0]!]) {
    expect(got.dims).toEqual(want.dims);
    expect([...floats(got)].map((v) => v + 0)).toEqual([...floats(want)].map((v) => v + 0));
  }
  await session.release();
}

function numbers(dims: readonly number[], seed: number): Tensor {
  const rng = createRng(seed);
  return f32Tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal()),
    dims,
  );
}

describe("rows of a table", () => {
  it("come out to the bit through a product, positions from the end included", async () => {
    const cases = fc.record({
      rows: fc.integer({ min: 1, max: 40 }),
      rest: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 2 }),
      index: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
      half: fc.boolean(),
      seed: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, rest, index, half, seed }) => {
        const wide = numbers([rows, ...rest], seed);
        const before = model("i64", index, (b, x) => {
          const row = b.node("Gather", [b.constant(half ? castTensor(wide, "f16") : wide), x]);
          return half ? b.node("Cast", [row], { to: 1 }) : row;
        });
        const { model: after } = await spelled(before);
        expect(ops(after)).not.toContain("Gather");
        const rng = createRng(seed + 1);
        const count = index.reduce((a, b) => a * b, 1);
        const at = Array.from({ length: count }, () => rng.int(2 * rows) - rows);
        await expectSame(before, after, denseFrom("i64", index, at));
      }),
      { numRuns: 40 },
    );
  });

  it("are NaN throughout where no row has the position, or where the table says so", async () => {
    const table = numbers([4, 3], 1);
    const { bytes } = table.source as { bytes: Uint8Array };
    new Float32Array(bytes.buffer, bytes.byteOffset, 3).fill(Number.NaN);
    const before = model("i64", [6], (b, x) => b.node("Gather", [b.constant(table), x]));
    const { model: after } = await spelled(before);
    const got = floats(await outputOf(after, new Map([["x", denseFrom("i64", [6], [0, 3, 4, -5, -1, 1])]])));
    const rows = Array.from({ length: 6 }, (_, r) => [...got.subarray(3 * r, 3 * r + 3)]);
    expect(rows.map((r) => r.every(Number.isNaN))).toEqual([true, false, true, true, false, false]);
    expect(rows[1]).toEqual(rows[4]);
    await expectSame(before, after, denseFrom("i64", [6], [1, 2, 3, -1, -2, -3]));
  });

  it.each([
    ["more rows than half precision can count", numbers([2049, 2], 1), /2049 rows/],
    ["numbers that are not finite", f32Tensor([1, Number.POSITIVE_INFINITY, 2, 3], [2, 2]), /not finite/],
    ["rows with a hole", f32Tensor([1, Number.NaN, 2, 3], [2, 2]), /not finite/],
    ["integers", i64Tensor([1, 2, 3], [3, 1]), /rows of a constant/],
  ] as const)("stay in a Gather, with the reason: %s", async (_name, table, why) => {
    const { model: after, decisions } = await spelled(
      model("i64", [1], (b, x) => b.node("Gather", [b.constant(table), x])),
    );
    expect(ops(after)).toEqual(["Gather"]);
    expect(decisions).toMatchObject([{ kind: "skipped", from: "Gather", why: expect.stringMatching(why) }]);
  });
});

describe("constant positions", () => {
  it.each([
    ["one", i64Tensor([2], []), ["Slice", "Squeeze"]],
    ["one from the end", i64Tensor([-1], []), ["Slice", "Squeeze"]],
    ["a list of one", i64Tensor([0]), ["Slice"]],
    ["some that follow each other", i64Tensor([1, 2, -1]), ["Slice"]],
    ["some that do not", i64Tensor([2, 0]), ["Gather"]],
    ["a matrix", i64Tensor([0, 1], [1, 2]), ["Gather"]],
  ] as const)("are a Slice where they can be: %s", async (_name, index, want) => {
    const before = model("f32", [2, 4, 3], (b, x) => b.node("Gather", [x, b.constant(index)], { axis: -2 }));
    const { model: after, decisions } = await spelled(before);
    expect(ops(after)).toEqual(want);
    expect(decisions[0]!.kind).toBe(want[0] === "Gather" ? "skipped" : "applied");
    await expectSame(before, after, denseFrom("f32", [2, 4, 3], [...Array(24).keys()]));
  });
});

describe("Expand", () => {
  const cases = fc
    .array(
      fc.record({
        length: fc.integer({ min: 1, max: 3 }),
        to: fc.integer({ min: 1, max: 4 }),
        has: fc.boolean(),
      }),
      {
        minLength: 1,
        maxLength: 4,
      },
    )
    .filter((axes) => axes.some((a) => a.has));

  it.each(["f32", "i64"] as const)("of %s repeats the same numbers", async (dtype) => {
    await fc.assert(
      fc.asyncProperty(cases, async (axes) => {
        const first = axes.findIndex((a) => a.has);
        const from = axes.slice(first).map((a) => (a.has ? a.length : 1));
        const to = axes.map((a, i) => (i >= first && a.has && a.length > 1 ? 1 : a.to));
        fc.pre(to.reduce((a, b) => a * b, 1) <= 64);
        const before = model(dtype, from, (b, x) => {
          const wide = b.node("Expand", [x, b.constant(i64Tensor(to))]);
          return dtype === "f32" ? wide : b.node("Cast", [wide], { to: 1 });
        });
        const { model: after } = await spelled(before);
        expect(ops(after)).not.toContain("Expand");
        const count = from.reduce((a, b) => a * b, 1);
        const x = Array.from({ length: count }, (_, i) => (dtype === "f32" ? i / 7 - 1 : i - 3));
        await expectSame(before, after, denseFrom(dtype, from, x));
      }),
      { numRuns: 25 },
    );
  });

  it("of many integers stays, with the reason", async () => {
    const { model: after, decisions } = await spelled(
      model("i64", [1], (b, x) => b.node("Expand", [x, b.constant(i64Tensor([65]))])),
    );
    expect(ops(after)).toEqual(["Expand"]);
    expect(decisions).toMatchObject([{ why: "it repeats i64 65 times" }]);
  });
});

describe("comparisons that become numbers", () => {
  it.each(["Less", "Greater"])("hit exactly where %s does, however small the difference", async (op) => {
    const near = [0, -0, 1e-45, 1, 1 + 2 ** -23, -1e30, 3.4e38, 999, 998.9995];
    const pairs = near.flatMap((a) => near.map((b) => [a, b] as const));
    const other = f32Tensor(pairs.map(([, b]) => b));
    const before = model("f32", [pairs.length], (b, x) =>
      b.node("Cast", [b.node(op, [x, b.constant(other)])], { to: 1 }),
    );
    const { model: after } = await spelled(before);
    expect(ops(after)).toEqual(["Sub", "Clip", "Ceil"]);
    const x = denseFrom(
      "f32",
      [pairs.length],
      pairs.map(([a]) => a),
    );
    await expectSame(before, after, x);
  });
});

describe("a build for a target without lookups", () => {
  it("has all of them for a target that takes the operators", async () => {
    const before = model("i64", [2], (b, x) => b.node("Gather", [b.constant(numbers([4, 3], 1)), x]));
    const { model: after, decisions } = await spelled(before, target("cpu-x64"));
    expect(ops(after)).toEqual(["Gather"]);
    expect(decisions).toEqual([]);
  });

  it.each(["tiny-unet", "tiny-dit"])(
    "leaves the accelerator nowhere once time is frozen: %s",
    async (name) => {
      const { dims, ...rest } = fixture(name);
      const original = rest.build();
      const feeds = feedsFor({ dims, ...rest }, original);
      const t = feeds.get("timestep")!;
      const at = (first: number): Dense => {
        const times = Array.from(
          { length: t.bytes.length / (t.dtype === "f32" ? 4 : 8) },
          (_, i) => [first, 1][i % 2]!,
        );
        return denseFrom(t.dtype, t.dims, times);
      };
      const built = cloneModel(original);
      const clean = passGroups["clean"]!.map((pass) => ({ name: pass, options: {} }));
      for (const step of [
        { name: "specialise-shapes", options: { dims } },
        ...clean,
        ...legalisePlan(coreml),
        { name: "freeze-time", options: { timesteps: [1, 500, 999], always: true } },
        ...clean,
        ...finishPlan(coreml),
      ])
        await run(built, resolvePass(step.name), step.options, { target: coreml });
      const [check] = await checkModel(built, [coreml], { reader: fileReader() });
      expect(check!.nodes.filter((n) => n.verdict === "leaves")).toEqual([]);
      feeds.set("timestep", at(999));
      const want = floats(await outputOf(original, feeds));
      const got = floats(await outputOf(built, feeds));
      const size = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      expect(want.reduce((m, v, i) => Math.max(m, Math.abs(v - got[i]!)), 0) / size).toBeLessThan(1e-5);
      feeds.set("timestep", at(998));
      expect(floats(await outputOf(built, feeds)).some(Number.isNaN)).toBe(true);
    },
  );
});
