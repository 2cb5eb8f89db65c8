import { describe, expect, it } from "vitest";
import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { findStructures, type Structures } from "../../../src/ir/pattern/index.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";

function find(model: Model): Structures {
  return findStructures({ graph: model.graph, shapes: inferShapes(model) });
}

function build(
  make: (k: Kit, x: ValueId) => ValueId,
  opset = 17,
  dims: (number | string)[] = ["n", 6, 8],
): Model {
  const k = createKit({ opset });
  const x = k.b.input("x", "f32", dims);
  k.b.output(make(k, x));
  return k.b.build();
}

describe("layer norm", () => {
  const centre = (k: Kit, x: ValueId, attrs = { axes: [-1] }): ValueId =>
    k.b.node("Sub", [x, k.b.node("ReduceMean", [x], attrs)]);

  it("is found with its parameters, and inner values others read are named", () => {
    let leaked: ValueId | undefined;
    const model = build((k, x) => {
      const c = centre(k, x);
      const variance = k.b.node("ReduceMean", [k.b.node("Mul", [c, c])], { axes: [-1] });
      const root = k.b.node("Sqrt", [k.b.node("Add", [k.scalar(1e-5), variance])]);
      leaked = root;
      k.b.output(k.b.node("Neg", [root]));
      const scaled = k.b.node("Mul", [k.f32("w", [8]), k.b.node("Div", [c, root])]);
      return k.b.node("Add", [scaled, k.f32("b", [1, 8])]);
    });
    const [norm] = find(model).norms;
    expect(norm).toMatchObject({ kind: "layer-norm", axes: [2], escapes: [leaked] });
    expect(norm?.epsilon).toBeCloseTo(1e-5, 9);
    expect([norm?.scale?.dims, norm?.bias?.dims]).toEqual([[8], [1, 8]]);
    expect(norm?.output).toBe(model.graph.outputs.at(-1));
    expect(norm?.nodes).toHaveLength(9);
  });

  it("keeps its output when the factor is not a parameter along the normalised axis", () => {
    const model = build((k, x) => {
      const c = centre(k, x);
      const variance = k.b.node("ReduceMean", [k.b.node("Pow", [c, k.scalar(2)])], { axes: [-1] });
      const root = k.b.node("Sqrt", [k.b.node("Add", [variance, k.scalar(1e-5)])]);
      return k.b.node("Mul", [k.b.node("Div", [c, root]), k.f32("rows", [6, 1])]);
    });
    const [norm] = find(model).norms;
    expect(norm?.scale).toBeNull();
    expect(model.graph.producer(norm?.output)?.op).toBe("Div");
  });

  it.each([
    ["means over different axes", { axes: [1] }, 2, "axes 1 and 2"],
    ["a power that is not a square", { axes: [-1] }, 3, "expected the scalar 2, found 3"],
  ])("is refused with %s", (_, attrs, power, why) => {
    const model = build((k, x) => {
      const c = centre(k, x, attrs);
      const variance = k.b.node("ReduceMean", [k.b.node("Pow", [c, k.scalar(power)])], { axes: [-1] });
      return k.b.node("Div", [c, k.b.node("Sqrt", [k.b.node("Add", [variance, k.scalar(1e-5)])])]);
    });
    const found = find(model);
    expect(found.norms.filter((n) => n.kind === "layer-norm")).toEqual([]);
    if (power === 3)
      expect(found.misses[0]).toMatchObject({ pattern: "layer-norm", why: expect.stringContaining(why) });
  });

  it("takes axes as input since opset 18", () => {
    const model = build((k, x) => {
      const mean = (v: ValueId): ValueId => k.b.node("ReduceMean", [v, k.i64([-1])]);
      const c = k.b.node("Sub", [x, mean(x)]);
      const root = k.b.node("Sqrt", [k.b.node("Add", [mean(k.b.node("Mul", [c, c])), k.scalar(1e-5)])]);
      return k.b.node("Mul", [c, k.b.node("Reciprocal", [root])]);
    }, 18);
    expect(find(model).norms).toMatchObject([
      { kind: "layer-norm", spelling: "sub-mean-mul-rsqrt", axes: [2] },
    ]);
  });
});

describe("group norm", () => {
  const through = (k: Kit, x: ValueId, ones: number, shape: readonly number[], groups = 2): ValueId => {
    const split = k.b.node("Reshape", [x, k.i64(shape)]);
    const scale = k.b.constant(f32Tensor(new Float32Array(groups).fill(ones)));
    const normed = k.b.node(
      "InstanceNormalization",
      [split, scale, k.b.constant(f32Tensor(new Float32Array(groups)))],
      {
        epsilon: floatAttr(1e-6),
      },
    );
    return k.b.node("Reshape", [normed, k.b.node("Shape", [x])]);
  };
  const image = ["n", 8, "h", "w"];

  it("is found with symbolic sizes, per-channel parameters included", () => {
    const model = build((k, x) => k.groupNorm("norm", x, 8, 4), 17, image);
    const [norm] = find(model).norms;
    expect(norm).toMatchObject({ kind: "group-norm", groups: 4, escapes: [] });
    expect([norm?.scale?.dims, norm?.bias?.dims]).toEqual([
      [8, 1, 1],
      [8, 1, 1],
    ]);
  });

  it("is found without parameters", () => {
    const model = build((k, x) => through(k, x, 1, [0, 2, -1]), 17, image);
    expect(find(model).norms).toMatchObject([{ kind: "group-norm", groups: 2, scale: null, bias: null }]);
  });

  it.each([
    ["scales inside the instance norm", 2, [0, 2, -1], "expected all elements to be 1"],
    ["a Reshape that moves the batch axis", 1, [-1, 2, 64], "does not keep the batch axis"],
  ])("is refused with %s", (_, ones, shape, why) => {
    const model = build((k, x) => through(k, x, ones, shape), 17, image);
    const found = find(model);
    expect(found.norms.map((n) => n.kind)).toEqual(["instance-norm"]);
    expect(found.misses).toMatchObject([{ pattern: "group-norm", why: expect.stringContaining(why) }]);
  });
});

describe("attention", () => {
  interface Options {
    readonly where: "scores" | "q" | "both" | "k-before-transpose" | "div";
    readonly perm?: "plain" | "swapped";
    readonly mask?: "none" | "zero" | "input" | "where";
    readonly folded?: boolean;
  }

  /** Two heads of 4 over 6 tokens. */
  function attention(o: Options): Model {
    return build((k, x) => {
      const { b } = k;
      const heads = (name: string, perm: readonly number[]): ValueId =>
        b.node("Transpose", [k.reshape(k.linear(name, x, 8, 8), [0, -1, 2, 4])], { perm });
      const fold = (v: ValueId): ValueId => (o.folded === true ? k.reshape(v, [-1, 6, 4]) : v);
      const times = (v: ValueId, by: number): ValueId => b.node("Mul", [v, k.scalar(by)]);
      let q = fold(heads("q", [0, 2, 1, 3]));
      let key: ValueId;
      if (o.perm === "swapped") key = heads("k", [0, 2, 3, 1]);
      else {
        key = fold(heads("k", [0, 2, 1, 3]));
        if (o.where === "k-before-transpose") key = times(key, 0.5);
        key = b.node("Transpose", [key], { perm: o.folded === true ? [0, 2, 1] : [0, 1, 3, 2] });
      }
      if (o.where === "q" || o.where === "both") q = times(q, o.where === "q" ? 0.5 : Math.SQRT1_2);
      if (o.where === "both") key = times(key, Math.SQRT1_2);
      let s = b.node("MatMul", [q, key]);
      if (o.where === "scores") s = times(s, 0.5);
      if (o.where === "div") s = b.node("Div", [s, k.scalar(2)]);
      if (o.mask === "input") s = b.node("Add", [b.input("mask", "f32", ["n", 1, 6, 6]), s]);
      if (o.mask === "zero")
        s = b.node("Add", [s, times(b.node("ConstantOfShape", [b.node("Shape", [s])]), 0)]);
      if (o.mask === "where")
        s = b.node("Where", [b.input("keep", "bool", ["n", 1, 6, 6]), s, k.scalar(Number.NEGATIVE_INFINITY)]);
      const v = fold(heads("v", [0, 2, 1, 3]));
      let out = b.node("MatMul", [b.node("Softmax", [s], { axis: -1 }), v]);
      if (o.folded === true) out = k.reshape(out, [-1, 2, 6, 4]);
      return k.reshape(b.node("Transpose", [out], { perm: [0, 2, 1, 3] }), [0, -1, 8]);
    });
  }

  it.each<Options>([
    { where: "scores" },
    { where: "div", folded: true },
    { where: "q" },
    { where: "both", perm: "swapped" },
    { where: "both" },
    { where: "k-before-transpose" },
    { where: "scores", mask: "zero", folded: true },
  ])("is found with scale and layout %j", (o) => {
    const model = attention(o);
    const [a, ...rest] = find(model).attentions;
    expect(rest).toEqual([]);
    expect(a).toMatchObject({ heads: 2, headDim: 4, kTransposed: o.perm === "swapped", escapes: [] });
    expect(a?.scale).toBeCloseTo(0.5, 6);
    expect(a?.merged).toBe(model.graph.outputs[0]);
    const sources = [a?.q, a?.k, a?.v].map((i) => model.graph.producer(i?.source)?.op);
    expect(sources).toEqual(["Add", "Add", "Add"]);
    expect(a?.masks.map((m) => m.zero)).toEqual(o.mask === "zero" ? [true] : []);
  });

  it("tells masks from inputs and conditions", () => {
    const [added] = find(attention({ where: "scores", mask: "input" })).attentions;
    expect(added?.masks).toMatchObject([{ kind: "add", zero: false }]);
    const [chosen] = find(attention({ where: "scores", mask: "where" })).attentions;
    expect(chosen?.masks).toMatchObject([{ kind: "where" }]);
  });

  it("is refused over another axis than the last, with the reason", () => {
    const model = build((k, x) => {
      const s = k.b.node("MatMul", [x, k.b.node("Transpose", [x], { perm: [0, 2, 1] })]);
      return k.b.node("MatMul", [k.b.node("Softmax", [s], { axis: 1 }), x]);
    });
    const found = find(model);
    expect(found.attentions).toEqual([]);
    expect(found.misses).toMatchObject([
      { pattern: "attention", why: expect.stringContaining("axis 1 of 3") },
    ]);
  });
});

describe("misses", () => {
  it("explain an erf that is no GELU", () => {
    const model = build((k, x) => {
      const erf = k.b.node("Erf", [k.b.node("Mul", [x, k.scalar(0.5)])]);
      return k.b.node("Mul", [k.b.node("Mul", [x, k.b.node("Add", [erf, k.scalar(1)])]), k.scalar(0.5)]);
    });
    const found = find(model);
    expect(found.activations).toEqual([]);
    expect(found.misses).toMatchObject([{ pattern: "gelu", why: expect.stringMatching(/0\.5/) }]);
  });

  it("are absent where nothing like the structure follows", () => {
    const model = build((k, x) => k.b.node("Softmax", [k.b.node("ReduceMean", [x], { axes: [1] })]));
    expect(find(model).misses).toEqual([]);
  });
});
