import { afterEach, describe, expect, it, vi } from "vitest";
import { completeOptions } from "../../../src/compile/recipe/validate.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Evaluator } from "../../../src/ir/evaluator.ts";
import { Graph, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { passGroups, resolvePass } from "../../../src/passes/index.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { runtime } from "../harness.ts";

const WIDTH = 16;
const HEADS = 2;
/** Tokens of a text or an image; with fixed shapes a mask of zeros over pairs of them would be 8 MiB. */
const TOKENS = 1024;

/** Blocks of attention as exporters write them: lengths read from tensors, and a mask of zeros times zero. */
function attentionBlocks(count: number, dims: readonly [number | string, number | string]): Model {
  const b = new ModelBuilder({ opset: 17 });
  const ints = (...v: number[]): ValueId => b.constant(i64Tensor(v));
  let x = b.input("x", "f32", [...dims, WIDTH]);
  for (let k = 0; k < count; k++) {
    const weight = b.constant(f32Tensor(new Float32Array(WIDTH * WIDTH).fill(k + 1), [WIDTH, WIDTH]));
    const bias = b.node("Unsqueeze", [b.constant(f32Tensor(new Float32Array(WIDTH).fill(k))), ints(0)]);
    const q = b.node("Add", [b.node("MatMul", [x, weight]), bias]);
    const length = (axis: number): ValueId =>
      b.node("Unsqueeze", [
        b.node("Gather", [b.node("Shape", [q]), b.constant(i64Tensor([axis], []))]),
        ints(0),
      ]);
    const shape = (...parts: ValueId[]): ValueId => b.node("Concat", parts, { axis: 0 });
    const split = b.node("Reshape", [q, shape(length(0), length(1), ints(HEADS), ints(WIDTH / HEADS))]);
    const swapped = b.node("Transpose", [split], { perm: [0, 2, 1, 3] });
    const batch = b.node("Mul", [length(0), ints(HEADS)]);
    const heads = b.node("Reshape", [swapped, shape(batch, length(1), ints(WIDTH / HEADS))]);
    const scores = b.node("MatMul", [heads, b.node("Transpose", [heads], { perm: [0, 2, 1] })]);
    const zeros = b.node("ConstantOfShape", [shape(batch, length(1), length(1))]);
    const mask = b.node("Mul", [zeros, b.constant(f32Tensor([0], []))]);
    const mixed = b.node("MatMul", [b.node("Softmax", [b.node("Add", [scores, mask])], { axis: -1 }), heads]);
    const apart = b.node("Reshape", [mixed, shape(length(0), ints(HEADS), length(1), ints(WIDTH / HEADS))]);
    const back = b.node("Transpose", [apart], { perm: [0, 2, 1, 3] });
    x = b.node("Add", [x, b.node("Reshape", [back, shape(length(0), length(1), ints(WIDTH))])]);
  }
  b.output(x, "y");
  return b.build();
}

/** What the exact passes do to a model, counted. */
interface Work {
  /** Nodes handed out by walks over the graph. */
  readonly visited: number;
  readonly patches: number;
  /** Fragments run to fold them, and the bytes that came out. */
  readonly runs: number;
  readonly bytes: number;
}

async function workOf(model: Model): Promise<Work> {
  let visited = 0;
  const original = Graph.prototype.nodes;
  vi.spyOn(Graph.prototype, "nodes").mockImplementation(function* (this: Graph) {
    for (const node of original.call(this)) {
      visited++;
      yield node;
    }
  });
  const patches = vi.spyOn(Graph.prototype, "apply");
  const { evaluator, reader } = await runtime();
  let runs = 0;
  let bytes = 0;
  const counting: Evaluator = {
    async run(fragment, feeds) {
      const out = await evaluator.run(fragment, feeds);
      runs++;
      for (const dense of out.values()) bytes += dense.bytes.length;
      return out;
    },
  };
  const options = { evaluator: counting, reader, target: null, seed: 0, ranges: null, trail: [] };
  for (const name of passGroups["clean"]!) {
    const pass = resolvePass(name);
    await runPass(model, pass, completeOptions(pass, {}, "the test"), options);
  }
  const work = { visited, patches: patches.mock.calls.length, runs, bytes };
  vi.restoreAllMocks();
  return work;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("the exact passes on deeper networks", () => {
  it.each([
    ["with symbolic lengths", ["b", "t"]],
    ["with fixed lengths", [1, TOKENS]],
  ] as const)(
    "look at every further block as often as at those before, in as many rounds, %s",
    async (_name, dims) => {
      const work = [];
      for (const depth of [4, 8, 16]) work.push(await workOf(attentionBlocks(depth, dims)));
      const [four, eight, sixteen] = work as [Work, Work, Work];
      expect(new Set(work.map((w) => `${w.patches} patches, ${w.runs} runs`)).size).toBe(1);
      expect(four.runs).toBeGreaterThan(0);
      expect(sixteen.visited - eight.visited).toBe(2 * (eight.visited - four.visited));
    },
  );

  it("fold what is small and leave masks of zeros unmade", async () => {
    const { bytes } = await workOf(attentionBlocks(4, [1, TOKENS]));
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(4096);
  });
});
