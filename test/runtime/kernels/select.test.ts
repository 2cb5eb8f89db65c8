import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { selectTensor } from "../../../src/runtime/kernels/select.ts";
import { floats, runtime } from "../../passes/harness.ts";

/** Plain loops over every element. */
function reference(
  x: Float32Array,
  dims: readonly number[],
  axis: number,
  keep: readonly number[],
): number[] {
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const out: number[] = [];
  for (const [i, v] of x.entries()) if (keep.includes(Math.floor(i / inner) % dims[axis]!)) out.push(v);
  return out;
}

describe("selectTensor", () => {
  it("keeps the indices of one axis in their order", async () => {
    const { reader } = await runtime();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
        async (dims, pick, mask) => {
          const axis = pick % dims.length;
          const keep = Array.from({ length: dims[axis]! }, (_, i) => i).filter((i) => mask[i]);
          const n = dims.reduce((a, b) => a * b, 1);
          const x = Float32Array.from({ length: n }, (_, i) => i + 0.5);
          const t = selectTensor(f32Tensor(x, dims), { axis, keep: Int32Array.from(keep) });
          expect(t.dims).toEqual(dims.map((d, i) => (i === axis ? keep.length : d)));
          const found = floats({ dtype: "f32", dims: t.dims, bytes: await reader.read(t) });
          expect([...found]).toEqual(reference(x, dims, axis, keep));
        },
      ),
    );
  });
  it("refuses indices that do not ascend", () => {
    const t = f32Tensor([1, 2, 3]);
    expect(() => selectTensor(t, { axis: 0, keep: Int32Array.from([1, 0]) })).toThrow("must ascend");
    expect(() => selectTensor(t, { axis: 0, keep: Int32Array.from([3]) })).toThrow("must ascend");
  });
});
