import { describe, expect, it } from "vitest";
import { type GraphBuilder, ModelBuilder } from "../../../src/ir/build.ts";
import type { ValueId } from "../../../src/ir/graph.ts";
import { typeText } from "../../../src/ir/infer/merge.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, i64Tensor, inlineTensor } from "../../../src/ir/tensor.ts";

/** Output types of a model made by `make`; unknown dims read `?`. */
function outputs(make: (b: ModelBuilder) => readonly (ValueId | null)[], opset = 17): string[] {
  const b = new ModelBuilder({ opset });
  const ids = make(b).filter((v) => v !== null);
  for (const id of ids) b.output(id);
  const result = inferShapes(b.build());
  expect(result.diagnostics.map((d) => d.message)).toEqual([]);
  return ids.map((id) => typeText(result.type(id)).replaceAll(/\?[\w.:]+/g, "?"));
}

const truth = inlineTensor("bool", [], Uint8Array.of(1));

describe("If", () => {
  const branch = (b: ModelBuilder, dims: readonly number[]) =>
    b.subgraph("branch", (g) => {
      const count = dims.reduce((x, y) => x * y, 1);
      g.output(g.node("Identity", [g.constant(f32Tensor(new Float32Array(count), dims), "c")]));
    });
  it.each([
    [[2, 3], [2, 3], "f32[2,3]"],
    [[2, 3], [4, 3], "f32[?,3]"],
    [[2, 3], [6], "f32[...]"],
  ])("joins branches of shapes %j and %j to %s", (a, c, want) => {
    const got = outputs((b) => [
      b.node("If", [b.input("c", "bool", [])], { then_branch: branch(b, a), else_branch: branch(b, c) }),
    ]);
    expect(got).toEqual([want]);
  });
});

describe("Loop", () => {
  const loop = (step: (g: GraphBuilder, x: ValueId, i: ValueId) => ValueId): string[] =>
    outputs((b) => {
      const x = b.input("x", "f32", [2, "n"]);
      const body = b.subgraph("body", (g) => {
        const i = g.input("i", "i64", []);
        const go = g.input("go", "bool", []);
        const v = g.inputOf("v", null);
        const next = step(g, v, i);
        g.output(g.node("Identity", [go])).output(next);
        g.output(g.node("ReduceSum", [next, g.constant(i64Tensor([0]), "zero")], { keepdims: 0 }));
      });
      return b.multi("Loop", [b.constant(i64Tensor([4], [])), b.constant(truth), x], 2, { body });
    });

  it("keeps the type of a value that does not change it, and stacks the other outputs", () => {
    expect(loop((g, x) => g.node("Neg", [x]))).toEqual(["f32[2,n]", "f32[?,n]"]);
  });

  it("forgets lengths that grow from one iteration to the next", () => {
    expect(loop((g, x) => g.node("Concat", [x, x], { axis: 0 }))).toEqual(["f32[?,n]", "f32[?,n]"]);
  });

  it("settles when the rank grows, and knows nothing then", () => {
    const [carried] = loop((g, x) => g.node("Unsqueeze", [x, g.constant(i64Tensor([0]), "axes")]));
    expect(carried).toBe("f32[...]");
  });
});

describe("Scan", () => {
  const scan = (
    opset: number,
    lead: readonly (ValueId | null)[],
    b: ModelBuilder,
    dims: (number | string)[],
    attrs = {},
  ) => {
    const state = b.input("state", "f32", opset < 9 ? ["b", 3] : [3]);
    const x = b.input("x", "f32", dims);
    const body = b.subgraph("body", (g) => {
      const s = g.inputOf("s", null);
      const next = g.node("Add", [s, g.inputOf("slice", null)]);
      g.output(next).output(g.node("Mul", [next, next]));
    });
    return b.multi("Scan", [...lead, state, x], 2, { body, num_scan_inputs: 1, ...attrs });
  };

  it("runs over the first axis", () => {
    expect(outputs((b) => scan(11, [], b, ["t", 3]))).toEqual(["f32[3]", "f32[t,3]"]);
  });

  it("runs over any axis and stacks along any", () => {
    const attrs = { scan_input_axes: [1], scan_output_axes: [-1] };
    expect(outputs((b) => scan(11, [], b, [3, 7], attrs))).toEqual(["f32[3]", "f32[3,7]"]);
  });

  it("has a batch axis and sequence lengths in version 8", () => {
    expect(outputs((b) => scan(8, [null], b, ["b", "t", 3]), 8)).toEqual(["f32[b,3]", "f32[b,t,3]"]);
  });
});

describe("sequences and optionals", () => {
  it("hold the join of what goes in", () => {
    const got = outputs((b) => {
      const [x, y] = [b.input("x", "f32", [2, "n"]), b.input("y", "f32", [4, "n"])];
      const s = b.node("SequenceConstruct", [x, y]);
      const zero = b.constant(i64Tensor([0], []));
      const more = b.node("SequenceInsert", [s, x]);
      return [
        s,
        b.node("SequenceAt", [s, zero]),
        b.node("SequenceErase", [more, zero]),
        b.node("SequenceLength", [s]),
        b.node("ConcatFromSequence", [s], { axis: 1 }),
        b.node("ConcatFromSequence", [s], { axis: -1, new_axis: 1 }),
        b.node("SequenceEmpty", [], { dtype: 7 }),
      ];
    });
    expect(got).toEqual(
      [
        "sequence<f32[?,n]>",
        "f32[?,n]",
        "sequence<f32[?,n]>",
        "i64[]",
        "f32[?,?]",
        "f32[?,n,?]",
        "sequence<i64[...]>",
      ].map((t) => t.replace("sequence<", SEQ.open).replace(/>$/, SEQ.close)),
    );
  });

  it.each([
    ["no sizes", null, {}, "f32[1,6]"],
    ["no sizes, axis dropped", null, { keepdims: 0 }, "f32[6]"],
    ["equal sizes", [2, 2], {}, "f32[2,6]"],
    ["different sizes", [1, 3], {}, "f32[?,6]"],
  ] as const)("come from a split with %s", (_, sizes, attrs, want) => {
    const got = outputs((b) => {
      const x = b.input("x", "f32", [4, 6]);
      const parts = b.node(
        "SplitToSequence",
        sizes === null ? [x] : [x, b.constant(i64Tensor(sizes))],
        attrs,
      );
      return [b.node("SequenceAt", [parts, b.constant(i64Tensor([0], []))])];
    });
    expect(got).toEqual([want]);
  });

  it("are mapped element by element", () => {
    const got = outputs((b) => {
      const s = b.node("SequenceConstruct", [b.input("x", "f32", [2, 3])]);
      const body = b.subgraph("body", (g) => {
        g.output(g.node("Transpose", [g.inputOf("e", null)], { perm: [1, 0] }));
      });
      return [b.node("SequenceAt", [b.node("SequenceMap", [s], { body }), b.constant(i64Tensor([0], []))])];
    });
    expect(got).toEqual(["f32[3,2]"]);
  });

  it("wrap and unwrap", () => {
    const got = outputs((b) => {
      const x = b.input("x", "f16", ["n"]);
      const o = b.node("Optional", [x]);
      return [
        b.node("OptionalGetElement", [o]),
        b.node("OptionalHasElement", [o]),
        b.node("OptionalGetElement", [x]),
      ];
    }, 18);
    expect(got).toEqual(["f16[n]", "bool[]", "f16[n]"]);
  });
});

/** How types of sequences are written. */
const SEQ = (() => {
  const text = typeText({ kind: "sequence", element: { kind: "tensor", dtype: "f32", shape: [1] } });
  const at = text.indexOf("f32[1]");
  return { open: text.slice(0, at), close: text.slice(at + "f32[1]".length) };
})();
