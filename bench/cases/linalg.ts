import { cholesky } from "../../src/numeric/linalg/cholesky.ts";
import { matrix, multiply, selfProduct, turned } from "../../src/numeric/linalg/gemm.ts";
import { leadingSvd } from "../../src/numeric/linalg/leading-svd.ts";
import { addProduct, viewOf } from "../../src/numeric/linalg/product.ts";
import { createRng } from "../../src/numeric/rng.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import type { Cell } from "../lib/table.ts";

/** What a pass may ask of one layer: a convolution of 1280 channels, a Gram matrix of 2048 inputs. */
const LIMIT = 3;
const RUNS = 3;

function median(x: number[]): number {
  return x.toSorted((a, b) => a - b)[x.length >> 1]!;
}

/** Median seconds of a few runs after a warm-up. */
function timed(run: () => void): number {
  run();
  const seconds = Array.from({ length: RUNS }, () => {
    const start = performance.now();
    run();
    return (performance.now() - start) / 1000;
  });
  return median(seconds);
}

function normal(count: number): Float64Array {
  const rng = createRng(1, "linalg");
  return Float64Array.from({ length: count }, () => rng.normal());
}

/** Matrix arithmetic at the sizes that layers of large models have. */
export const linalg: BenchCase = {
  name: "linalg",
  title: "matrix arithmetic on one core",
  needs: [],
  async run() {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const add = (what: string, flops: number, run: () => void, limit: number | null = null): void => {
      const seconds = timed(run);
      rows.push([what, seconds, flops / seconds / 1e9]);
      if (limit !== null) checks.push({ name: what, value: seconds, relation: "<=", limit, unit: "s" });
    };
    const square = normal(1024 * 1024);
    const a = matrix(square, 1024, 1024);
    const into = viewOf(new Float64Array(1024 * 1024), 1024, 1024);
    const view = viewOf(square, 1024, 1024);
    const cube = 2 * 1024 ** 3;
    add("product of 1024×1024, scalar", cube, () => addProduct(into, 1, view, view));
    add("product of 1024×1024, vector", cube, () => multiply(a, turned(a)));
    const [n, k, rank] = [1280, 11520, 128];
    const weight = matrix(Float32Array.from(normal(n * k)), n, k);
    const passes = 3 * 2 * n * k * (rank + 36);
    add(`SVD of rank ${rank} of ${n}×${k}`, passes, () => leadingSvd(weight, { rank }), LIMIT);
    const size = 2048;
    const gram = selfProduct(matrix(normal(size * (size + 64)), size, size + 64));
    add(`Cholesky of ${size}`, size ** 3 / 3, () => cholesky(gram, size), LIMIT);
    return {
      columns: ["operation", "s", "GFLOP/s"],
      rows,
      checks,
      commands: ["npm run bench -- --only linalg"],
      notes: [
        `float64, median of ${RUNS} runs after a warm-up. Operations of the SVD: its four passes over the matrix.`,
      ],
    };
  },
};
