import { expect, test } from "vitest";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { transposeTensor } from "../../src/runtime/kernels/transpose.ts";
import { createPool } from "../../src/runtime/pool.ts";

const t = castTensor(transposeTensor(f32Tensor([1, 2, 3, 4, 5, 6], [2, 3])), "f16");
const derivation = t.source.kind === "derived" ? t.source.derivation : null;

test.each([0, 1, 3])("%d workers give the same bytes", async (workers) => {
  const pool = createPool(workers);
  try {
    const outs = await Promise.all([1, 2, 3, 4].map(() => pool.evaluate(derivation!)));
    for (const [out] of outs) {
      expect(out!.dims).toEqual([3, 2]);
      expect(Buffer.from(out!.bytes).toString("hex")).toBe("003c00440040004500420046");
    }
  } finally {
    await pool.close();
  }
});
