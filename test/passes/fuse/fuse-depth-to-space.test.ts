import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { i64Tensor } from "../../../src/ir/tensor.ts";
import { fuseDepthToSpace } from "../../../src/passes/fuse/fuse-depth-to-space.ts";
import { apply, difference, ops, wave } from "../harness.ts";

interface Patches {
  readonly rows: number;
  readonly columns: number;
  readonly block: number;
  readonly channels: number;
  readonly order: "DCR" | "CRD";
  readonly by: "Einsum" | "Transpose";
}

function model(o: Patches, more: { wide?: number; shared?: boolean; opset?: number } = {}): Model {
  const { rows, columns, block, channels, order, by } = o;
  const wide = more.wide ?? block;
  const b = new ModelBuilder({ opset: more.opset ?? 17 });
  const x = b.input("x", "f32", ["b", rows * columns, block * wide * channels]);
  const inner = order === "DCR" ? [block, wide, channels] : [channels, block, wide];
  const grid = b.node("Reshape", [x, b.constant(i64Tensor([-1, rows, columns, ...inner]))]);
  const moved =
    by === "Einsum"
      ? b.node("Einsum", [grid], { equation: order === "DCR" ? "nhwpqc->nchpwq" : "nhwcpq->nchpwq" })
      : b.node("Transpose", [grid], { perm: order === "DCR" ? [0, 5, 1, 3, 2, 4] : [0, 3, 1, 4, 2, 5] });
  const y = b.node("Reshape", [moved, b.constant(i64Tensor([-1, channels, rows * block, columns * wide]))]);
  b.output(y, "y");
  if (more.shared === true) b.output(b.node("Neg", [moved]), "z");
  return b.build();
}

const patches = fc.record({
  rows: fc.integer({ min: 1, max: 4 }),
  columns: fc.integer({ min: 1, max: 4 }),
  block: fc.integer({ min: 2, max: 3 }),
  channels: fc.integer({ min: 1, max: 5 }),
  order: fc.constantFrom("DCR" as const, "CRD" as const),
  by: fc.constantFrom("Einsum" as const, "Transpose" as const),
});

describe("patches of a transformer", () => {
  it("become depth of an image, pixel for pixel", async () => {
    await fc.assert(
      fc.asyncProperty(patches, fc.integer({ min: 1, max: 3 }), async (o, batch) => {
        const after = model(o);
        await apply(after, [fuseDepthToSpace as never]);
        expect(ops(after)).toEqual(["Reshape", "Transpose", "DepthToSpace"]);
        const feeds = { x: wave([batch, o.rows * o.columns, o.block * o.block * o.channels], 1) };
        expect(await difference(model(o), after, feeds)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it.each([
    ["patches that are not square", { wide: 3 }],
    ["what something else reads", { shared: true }],
    ["opsets without a mode", { opset: 9 }],
  ] as const)("leaves alone %s", async (_name, more) => {
    const o = { rows: 2, columns: 2, block: 2, channels: 3, order: "DCR", by: "Transpose" } as const;
    const after = model(o, more);
    await apply(after, [fuseDepthToSpace as never]);
    expect(ops(after)).not.toContain("DepthToSpace");
  });
});
