import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blockMoves } from "../../src/numeric/permutation.ts";

const permutation = (most: number) =>
  fc
    .integer({ min: 1, max: most })
    .chain((rank) => fc.shuffledSubarray([...Array(rank).keys()], { minLength: rank, maxLength: rank }));

/** Axes in the order the moves leave them in; each move has to name all of them once, in the order they have by then. */
function walked(goal: readonly number[], most: number): number[] {
  let at = [...goal].sort((a, b) => a - b);
  for (const { blocks, order } of blockMoves(goal, most)) {
    expect(blocks.flat()).toEqual(at);
    expect(blocks.length).toBeLessThanOrEqual(most);
    at = order.flatMap((i) => blocks[i]!);
  }
  return at;
}

describe("a permutation as moves of blocks", () => {
  it("ends in the order that was asked for, in blocks that are as few as allowed", () => {
    fc.assert(
      fc.property(permutation(8), fc.integer({ min: 3, max: 6 }), (goal, most) => {
        expect(walked(goal, most)).toEqual(goal);
      }),
      { numRuns: 300 },
    );
  });

  it("is one move where neighbours suffice, and two for any six axes taken five at a time", () => {
    expect(blockMoves([0, 2, 1], 5)).toEqual([{ blocks: [[0], [1], [2]], order: [0, 2, 1] }]);
    expect(blockMoves([2, 3, 0, 1], 3)).toEqual([
      {
        blocks: [
          [0, 1],
          [2, 3],
        ],
        order: [1, 0],
      },
    ]);
    fc.assert(
      fc.property(permutation(6), (goal) => {
        expect(blockMoves(goal, 5).length).toBeLessThanOrEqual(2);
      }),
      { numRuns: 300 },
    );
  });

  it("is nothing for axes that stay, whichever are left out", () => {
    expect(blockMoves([1, 4, 5], 3)).toEqual([]);
    expect(blockMoves([], 3)).toEqual([]);
  });

  it("refuses to make do with two axes", () => {
    expect(() => blockMoves([1, 0], 2)).toThrow(/rank 2/);
  });
});
