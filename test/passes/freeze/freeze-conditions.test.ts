import { describe, expect, it } from "vitest";
import { feedsFor, fixtures } from "../../../fixtures/build/index.ts";
import { denseFrom, floats, numbersOf } from "../../../src/calibrate/dense.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { modelBytes } from "../../../src/ir/weights.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import {
  type FreezeConditionsOptions,
  freezeConditions,
} from "../../../src/passes/freeze/freeze-conditions.ts";
import type { Pass } from "../../../src/passes/pass.ts";
import { type PassReport, runPass } from "../../../src/passes/runner.ts";
import { runtime } from "../harness.ts";

type Feeds = ReadonlyMap<string, Dense>;

/** An oracle that recorded one call. */
const recorded = (feeds: Feeds): Oracle =>
  ({ calls: [{ timestep: 1, weight: 1, feeds, outputs: new Map() }] }) as unknown as Oracle;

async function freeze(
  model: Model,
  options: Partial<FreezeConditionsOptions>,
  oracle: Oracle | null = null,
): Promise<PassReport> {
  const rt = await runtime();
  const complete = { conditions: "calibration", tolerance: 0.01, always: true, ...options };
  const report = await runPass(model, freezeConditions as unknown as Pass, complete, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target: null,
    seed: 0,
    ranges: null,
    statistics: null,
    oracle,
    trail: [],
  });
  return report!;
}

async function run(model: Model, feeds: Feeds): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "all" });
  try {
    const [out] = [...(await session.run(feeds)).values()];
    return floats(out!);
  } finally {
    await session.release();
  }
}

function largest(a: Float32Array, b: Float32Array): number {
  expect(b.length).toBe(a.length);
  const size = a.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return (
    a.reduce((m, v, i) => (Number.isNaN(b[i]!) ? Number.NaN : Math.max(m, Math.abs(v - b[i]!))), 0) / size
  );
}

function normal(dims: readonly number[], seed: number): Dense {
  const rng = createRng(seed, "conditions");
  const size = dims.reduce((a, b) => a * b, 1);
  return denseFrom(
    "f32",
    dims,
    Float32Array.from({ length: size }, () => rng.normal()),
  );
}

const [TOKENS, WIDTH, LENGTH] = [6, 16, 5];

/** A denoiser of one cross attention with two heads; the batch is fixed or open. */
function crossAttention(batch: number | "B", mix = false): Model {
  const b = new ModelBuilder({ opset: 17 });
  const weight = (rows: number, columns: number, seed: number): ValueId => {
    const { bytes, dims } = normal([rows, columns], seed);
    return b.constant(f32Tensor(new Float32Array(bytes.slice().buffer), dims));
  };
  const i64 = (v: readonly number[]): ValueId => b.constant(i64Tensor(v));
  const x = b.input("sample", "f32", [batch, TOKENS, WIDTH]);
  const t = b.input("timestep", "f32", [batch]);
  const text = b.input("encoder_hidden_states", "f32", [batch, batch === "B" ? "S" : LENGTH, 24]);
  const column = b.node("Reshape", [t, i64([-1, 1])]);
  const waves = b.node("Concat", [b.node("Sin", [column]), b.node("Cos", [column])], { axis: 1 });
  const time = b.node("Reshape", [b.node("MatMul", [waves, weight(2, WIDTH, 9)]), i64([-1, 1, WIDTH])]);
  const states = mix
    ? b.node("Sub", [text, b.node("ReduceMean", [text], { axes: { kind: "ints", value: [0] } })])
    : text;
  const heads = (v: ValueId, perm: readonly number[]): ValueId =>
    b.node("Transpose", [b.node("Reshape", [v, i64([0, -1, 2, WIDTH / 2])])], { perm: intsAttr(perm) });
  const h = b.node("Add", [x, time]);
  const q = heads(b.node("MatMul", [h, weight(WIDTH, WIDTH, 1)], {}, { name: "q" }), [0, 2, 1, 3]);
  const k = heads(b.node("MatMul", [states, weight(24, WIDTH, 2)], {}, { name: "k" }), [0, 2, 3, 1]);
  const v = heads(b.node("MatMul", [states, weight(24, WIDTH, 3)], {}, { name: "v" }), [0, 2, 1, 3]);
  const seen = b.node("MatMul", [b.node("Softmax", [b.node("MatMul", [q, k])], { axis: -1 }), v]);
  const joined = b.node("Reshape", [
    b.node("Transpose", [seen], { perm: intsAttr([0, 2, 1, 3]) }),
    i64([0, -1, WIDTH]),
  ]);
  const y = b.node("Add", [h, b.node("MatMul", [joined, weight(WIDTH, WIDTH, 4)], {}, { name: "out" })]);
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const PROMPTS = [1, 2, 3].map((seed) => numbersOf(normal([1, LENGTH, 24], 50 + seed)));

/** Feeds of rows with the given prompts. */
function feedsOf(prompts: readonly (readonly number[])[]): Map<string, Dense> {
  const n = prompts.length;
  const length = prompts[0]!.length / 24;
  return new Map([
    ["sample", normal([n, TOKENS, WIDTH], 7)],
    [
      "timestep",
      denseFrom(
        "f32",
        [n],
        Float32Array.from({ length: n }, (_, i) => 3 + i),
      ),
    ],
    ["encoder_hidden_states", denseFrom("f32", [n, length, 24], Float32Array.from(prompts.flat()))],
  ]);
}

/** A denoiser whose class is embedded by a table of five rows and a layer. */
function classes(): Model {
  const b = new ModelBuilder({ opset: 17 });
  const matrix = (rows: number, columns: number, seed: number): ValueId => {
    const { bytes, dims } = normal([rows, columns], seed);
    return b.constant(f32Tensor(new Float32Array(bytes.slice().buffer), dims));
  };
  const x = b.input("sample", "f32", ["B", WIDTH]);
  const label = b.input("class_labels", "i64", ["B"]);
  const row = b.node("Gather", [matrix(5, 64, 1), label], { axis: 0 });
  const embedded = b.node("MatMul", [row, matrix(64, WIDTH, 2)], {}, { name: "embed" });
  const h = b.node("MatMul", [b.node("Add", [x, embedded]), matrix(WIDTH, WIDTH, 3)]);
  return b.output(h, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const names = (m: Model): string[] => [...m.graph.nodes()].map((n) => n.name);

describe("freeze-conditions", () => {
  it.each(["B", 3] as const)("batch of %s: keys and values come from tables, exactly", async (batch) => {
    const model = crossAttention(batch);
    const before = cloneModel(model);
    const [a, b, c] = PROMPTS as [number[], number[], number[]];
    const report = await freeze(model, {}, recorded(feedsOf([a, b, c])));
    expect(report.decisions).toMatchObject([
      { kind: "applied", rule: "condition-tables", node: "encoder_hidden_states" },
    ]);
    expect(report.decisions[0]!.why).toContain("3 conditions only");
    expect(report.published).toEqual({
      frozenConditions: { inputs: ["encoder_hidden_states"], count: 3 },
    });
    for (const gone of ["k", "v"]) expect(names(model)).not.toContain(gone);
    for (const kept of ["q", "out"]) expect(names(model)).toContain(kept);
    for (const order of [
      [a, b, c],
      [c, a, a],
      [b, b, b],
    ])
      expect(largest(await run(before, feedsOf(order)), await run(model, feedsOf(order)))).toBeLessThan(1e-6);
    if (batch === "B")
      for (const order of [[b], [c, b, a, b]])
        expect(largest(await run(before, feedsOf(order)), await run(model, feedsOf(order)))).toBeLessThan(
          1e-6,
        );
  });

  it("gives NaN, in the rows concerned, at a prompt that is not in the set, and recognises one within the tolerance", async () => {
    const model = crossAttention("B");
    const before = cloneModel(model);
    const [a, b, c] = PROMPTS as [number[], number[], number[]];
    await freeze(model, {}, recorded(feedsOf([a, b, a])));
    const each = TOKENS * WIDTH;
    const largestElement = Math.max(...[...a, ...b].map(Math.abs));
    const moved = (by: number): number[] => a.map((v, i) => (i === 40 ? v + by * largestElement : v));
    for (const strange of [c, moved(0.011), moved(-0.5), a.map(() => Number.NaN), a.map((v) => -v)]) {
      const y = await run(model, feedsOf([b, strange, a]));
      expect([...y.slice(0, each), ...y.slice(2 * each)].every(Number.isFinite)).toBe(true);
      expect([...y.slice(each, 2 * each)].every(Number.isNaN)).toBe(true);
    }
    const near = feedsOf([b, moved(0.009), a]);
    expect(largest(await run(before, feedsOf([b, a, a])), await run(model, near))).toBeLessThan(1e-6);
  });

  it("fails at conditions of another length", async () => {
    const model = crossAttention("B");
    await freeze(model, {}, recorded(feedsOf(PROMPTS)));
    const long = [...PROMPTS[0]!, ...PROMPTS[1]!];
    await expect(run(model, feedsOf([long, long]))).rejects.toThrow();
  });

  it("leaves the model alone, and says why", async () => {
    const feeds = feedsOf(PROMPTS);
    const near = PROMPTS[0]!.map((v, i) => (i === 3 ? v * 1.02 + 0.02 : v));
    const cases = [
      [{ conditions: null }, recorded(feeds), false, /opt-in/],
      [{}, null, false, /could not be sampled/],
      [{}, recorded(feeds), true, /other conditions of the batch/],
      [{ always: false }, recorded(feeds), false, /tables for 3 conditions take/],
      [{ conditions: [1, 2] }, recorded(feeds), false, /of that kind/],
      [{}, recorded(feedsOf([PROMPTS[0]!, near])), false, /closer than the tolerance/],
    ] as const;
    for (const [options, oracle, mix, why] of cases) {
      const model = crossAttention("B", mix);
      const { version } = model.graph;
      const { decisions, published } = await freeze(model, options as never, oracle);
      expect(decisions).toMatchObject([{ kind: "skipped", why: expect.stringMatching(why) }]);
      expect(published).toBeUndefined();
      expect(model.graph.version).toBe(version);
    }
  });

  it("freezes a denoiser of the fixtures exactly, and saves what it says where the set is small", async () => {
    const fixture = fixtures.find((f) => f.name === "tiny-unet")!;
    const model = fixture.build();
    const feeds = feedsFor(fixture, model);
    const before = cloneModel(model);
    const { decisions } = await freeze(model, {}, recorded(feeds));
    expect(decisions).toMatchObject([{ kind: "applied", rule: "condition-tables" }]);
    expect(largest(await run(before, feeds), await run(model, feeds))).toBeLessThan(1e-5);
    const { bytesBefore, bytesAfter } = decisions[0]!;
    const saved = modelBytes(before) - modelBytes(model);
    expect(Math.abs(saved - (bytesBefore! - bytesAfter!))).toBeLessThan(2048);
  });

  it("takes a list of classes, and refuses one the model does not know", async () => {
    const model = classes();
    const before = cloneModel(model);
    const { decisions } = await freeze(model, { conditions: [4, 1, 4, 0] });
    expect(decisions).toMatchObject([{ kind: "applied", node: "class_labels", to: "1 tables of 3 rows" }]);
    expect(names(model)).not.toContain("embed");
    const feeds = (labels: readonly number[]): Feeds =>
      new Map([
        ["sample", normal([labels.length, WIDTH], 7)],
        ["class_labels", denseFrom("i64", [labels.length], labels)],
      ]);
    const known = feeds([0, 4, 1, 1]);
    expect(largest(await run(before, known), await run(model, known))).toBeLessThan(1e-6);
    const y = await run(model, feeds([2, 4]));
    expect([...y.slice(0, WIDTH)].every(Number.isNaN)).toBe(true);
    expect([...y.slice(WIDTH)].every(Number.isFinite)).toBe(true);
    await expect(freeze(classes(), { conditions: [1, 99] })).rejects.toMatchObject({
      code: "CONDITIONS_NOT_COMPUTED",
    });
  });
});
