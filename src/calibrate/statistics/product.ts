import { ModelBuilder } from "../../ir/build.ts";
import type { Model } from "../../ir/graph.ts";
import { tensorType } from "../../ir/types.ts";
import type { Runtime } from "../../runtime/index.ts";
import { denseFrom, floats } from "../dense.ts";

/** leftᵀ · right of row-major arrays of `rows` rows each, float32. */
export type GramProduct = (rows: number, left: Float32Array, right: Float32Array) => Promise<Float32Array>;

function productModel(): Model {
  const b = new ModelBuilder({ opset: 17, name: "gram" });
  const left = b.input("left", "f32", ["m", "k"]);
  const right = b.input("right", "f32", ["m", "n"]);
  b.output(b.node("Gemm", [left, right], { transA: 1 }), "product", tensorType("f32", ["k", "n"]));
  return b.build();
}

/** Opens a product on the runtime, hands it over, releases it. */
export async function withGramProduct<T>(
  runtime: Runtime,
  threads: number,
  use: (product: GramProduct) => Promise<T>,
): Promise<T> {
  const session = await runtime.openSession(productModel(), { threads });
  try {
    return await use(async (rows, left, right) => {
      const feeds = new Map([
        ["left", denseFrom("f32", [rows, left.length / rows], left)],
        ["right", denseFrom("f32", [rows, right.length / rows], right)],
      ]);
      return floats((await session.run(feeds)).get("product")!);
    });
  } finally {
    await session.release();
  }
}

/** Adds `scale · part`. */
export function accumulate(into: Float64Array, part: Float32Array, scale: number): void {
  for (let i = 0; i < into.length; i++) into[i]! += scale * part[i]!;
}

/** Replaces a square matrix by `scale` times its symmetric part. */
export function symmetrise(m: Float64Array, size: number, scale: number): void {
  for (let i = 0; i < size; i++)
    for (let j = 0; j <= i; j++) {
      const v = ((m[i * size + j]! + m[j * size + i]!) / 2) * scale;
      m[i * size + j] = v;
      m[j * size + i] = v;
    }
}
