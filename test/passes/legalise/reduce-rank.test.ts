import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { i64Tensor } from "../../../src/ir/tensor.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { reduceRank } from "../../../src/passes/legalise/reduce-rank.ts";
import { apply, difference, ops, wave } from "../harness.ts";

/** Axes of a tensor in the middle, how the tensors around it gather them, and how they move. */
interface Passage {
  readonly axes: readonly number[];
  readonly perm: readonly number[];
  /** Axes taken together at both ends: lengths of consecutive groups. */
  readonly from: readonly number[];
  readonly to: readonly number[];
}

function gathered(axes: readonly number[], groups: readonly number[]): number[] {
  let at = 0;
  return groups.map((g) => axes.slice(at, (at += g)).reduce((a, b) => a * b, 1));
}

function model(p: Passage, batch: number | "b" | null = null): Model {
  const b = new ModelBuilder({ opset: 17 });
  const ints = (v: readonly number[]): ValueId => b.constant(i64Tensor(v));
  const lead = batch === null ? [] : [batch];
  const all = batch === null ? [] : [-1];
  const x = b.input("x", "f32", [...lead, ...gathered(p.axes, p.from)]);
  const wide = b.node("Reshape", [x, ints([...all, ...p.axes])]);
  const perm = batch === null ? p.perm : [0, ...p.perm.map((a) => a + 1)];
  const moved = b.node("Transpose", [wide], { perm });
  const end = gathered(
    p.perm.map((a) => p.axes[a]!),
    p.to,
  );
  b.output(b.node("Reshape", [moved, ints([...all, ...end])]), "y");
  return b.build();
}

const highest = (m: Model): number => {
  const shapes = inferShapes(m);
  return Math.max(
    ...[...m.graph.values()].filter((v) => v.init === null).map((v) => shapes.shape(v.id)!.length),
  );
};

/** Cuts `count` axes into at most three groups. */
const groups = (count: number) =>
  fc
    .uniqueArray(fc.integer({ min: 1, max: count - 1 }), { maxLength: 2 })
    .map((cuts) => [0, ...cuts.sort((a, b) => a - b), count])
    .map((edges) => edges.slice(1).map((e, i) => e - edges[i]!));

const passage = fc.integer({ min: 4, max: 8 }).chain((rank) =>
  fc.record({
    axes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: rank, maxLength: rank }),
    perm: fc.shuffledSubarray([...Array(rank).keys()], { minLength: rank, maxLength: rank }),
    from: groups(rank),
    to: groups(rank),
  }),
);

describe("axes that move between changes of shape", () => {
  it("come out the same through tensors of any lower rank", async () => {
    await fc.assert(
      fc.asyncProperty(passage, fc.integer({ min: 3, max: 6 }), async (p, maxRank) => {
        const after = model(p);
        await apply(after, [reduceRank as never, { maxRank }], [removeDead as never]);
        expect(highest(after)).toBeLessThanOrEqual(maxRank);
        expect(await difference(model(p), after, { x: wave(gathered(p.axes, p.from)) })).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it("need no more than neighbours taken together where that suffices", async () => {
    const windows = { axes: [2, 4, 2, 4, 3], perm: [0, 2, 1, 3, 4], from: [2, 2, 1], to: [2, 2, 1] };
    const after = model(windows, 2);
    await apply(after, [reduceRank as never, { maxRank: 5 }], [removeDead as never]);
    expect(ops(after)).toEqual(["Reshape", "Transpose", "Reshape"]);
    expect(highest(after)).toBe(4);
  });

  it("take two moves for a video's patches, whatever the batch", async () => {
    const patches = {
      axes: [2, 2, 3, 1, 2, 2, 4],
      perm: [6, 0, 3, 1, 4, 2, 5],
      from: [3, 4],
      to: [1, 2, 2, 2],
    };
    const after = model(patches, "b");
    await apply(after, [reduceRank as never, { maxRank: 5 }], [removeDead as never]);
    expect(ops(after).filter((op) => op === "Transpose")).toHaveLength(2);
    expect(highest(after)).toBeLessThanOrEqual(5);
    for (const batch of [1, 3])
      expect(await difference(model(patches, "b"), after, { x: wave([batch, 12, 16]) })).toBe(0);
  });

  it("stay below a limit they already keep", async () => {
    const p = { axes: [2, 3, 4, 2], perm: [3, 1, 2, 0], from: [1, 3], to: [3, 1] };
    const after = model(p);
    const decisions = await apply(after, [reduceRank as never, { maxRank: 4 }]);
    expect(ops(after)).toEqual(ops(model(p)));
    expect(decisions).toEqual([]);
  });

  it("serve several readers, and stay with a reason where one of them wants the axes", async () => {
    const build = (neg: boolean): Model => {
      const b = new ModelBuilder({ opset: 17 });
      const x = b.input("x", "f32", [12, 16]);
      const wide = b.node("Reshape", [x, b.constant(i64Tensor([3, 2, 2, 4, 2, 2]))]);
      const moved = b.node("Transpose", [wide], { perm: [5, 3, 1, 4, 2, 0] });
      b.output(b.node("Reshape", [moved, b.constant(i64Tensor([8, 24]))]), "y");
      b.output(neg ? b.node("Neg", [moved]) : b.node("Flatten", [moved], { axis: 1 }), "z");
      return b.build();
    };
    const after = build(false);
    await apply(after, [reduceRank as never, { maxRank: 5 }], [removeDead as never]);
    expect(highest(after)).toBeLessThanOrEqual(5);
    expect(await difference(build(false), after, { x: wave([12, 16]) })).toBe(0);
    const stuck = build(true);
    const decisions = await apply(stuck, [reduceRank as never, { maxRank: 5 }]);
    expect(ops(stuck)).toEqual(ops(build(true)));
    expect(decisions).toMatchObject([
      { kind: "skipped", rule: "merge-axes", why: expect.stringMatching(/gathered/) },
    ]);
  });
});
