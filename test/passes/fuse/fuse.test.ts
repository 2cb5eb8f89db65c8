import { describe, expect, it } from "vitest";
import { type GraphBuilder, ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, i64Tensor, inlineTensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { fuseActivation } from "../../../src/passes/fuse/fuse-activation.ts";
import { fuseAffine } from "../../../src/passes/fuse/fuse-affine.ts";
import { fuseAttention } from "../../../src/passes/fuse/fuse-attention.ts";
import { fuseGemm } from "../../../src/passes/fuse/fuse-gemm.ts";
import { fuseGroupNorm } from "../../../src/passes/fuse/fuse-group-norm.ts";
import { fuseLayerNorm } from "../../../src/passes/fuse/fuse-layer-norm.ts";
import { fuseRmsNorm } from "../../../src/passes/fuse/fuse-rms-norm.ts";
import { apply, difference, floats, ops, wave } from "../harness.ts";

const f64 = (v: number) => inlineTensor("f64", [], new Uint8Array(Float64Array.of(v).buffer));

/** Float rounding of a handful of fp32 operations on values of order 1. */
const ROUNDING = 5e-6;

function model(
  opset: number,
  shape: (number | string)[],
  make: (b: ModelBuilder, x: ValueId) => ValueId,
): Model {
  const b = new ModelBuilder({ opset });
  b.output(make(b, b.input("x", "f32", shape)), "y", tensorType("f32", null));
  return b.build();
}

const vector = (b: GraphBuilder, n: number, dims: readonly number[] = [n]): ValueId =>
  b.constant(f32Tensor(floats(wave([n], n)), dims));
const scalar = (b: GraphBuilder, v: number): ValueId => b.constant(f32Tensor([v], []));

function layerNorm(b: ModelBuilder, x: ValueId, affine = true): ValueId {
  const mean = b.node("ReduceMean", [x], { axes: [-1] });
  const d = b.node("Sub", [x, mean]);
  const v = b.node("ReduceMean", [b.node("Pow", [d, scalar(b, 2)])], { axes: [-1] });
  const n = b.node("Div", [d, b.node("Sqrt", [b.node("Add", [v, scalar(b, 1e-5)])])]);
  return affine ? b.node("Add", [b.node("Mul", [n, vector(b, 8)]), vector(b, 8)]) : n;
}

describe("norms", () => {
  it.each([true, false])("layer normalisation, affine %s", async (affine) => {
    const make = () => model(17, ["b", 5, 8], (b, x) => layerNorm(b, x, affine));
    const got = make();
    await apply(got, [fuseLayerNorm], [removeDead]);
    expect(ops(got)).toEqual(["LayerNormalization"]);
    expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
  });

  it("is left alone below opset 17, and when an inner value is read elsewhere", async () => {
    const old = model(16, [2, 5, 8], (b, x) => layerNorm(b, x));
    const decisions = await apply(old, [fuseLayerNorm]);
    expect(decisions).toEqual([
      expect.objectContaining({ kind: "skipped", why: "the model's opset is below 17" }),
    ]);
    const shared = model(17, [2, 5, 8], (b, x) => {
      const mean = b.node("ReduceMean", [x], { axes: [-1] });
      const d = b.node("Sub", [x, mean]);
      const v = b.node("ReduceMean", [b.node("Mul", [d, d])], { axes: [-1] });
      const n = b.node("Div", [d, b.node("Sqrt", [b.node("Add", [v, scalar(b, 1e-5)])])]);
      return b.node("Add", [n, mean]);
    });
    const said = await apply(shared, [fuseLayerNorm], [removeDead]);
    expect(ops(shared)).not.toContain("LayerNormalization");
    expect(said[0]?.why).toContain("read elsewhere");
  });

  it("RMS normalisation", async () => {
    const make = () =>
      model(17, [2, 5, 8], (b, x) => {
        const m = b.node("ReduceMean", [b.node("Mul", [x, x])], { axes: [-1] });
        const r = b.node("Sqrt", [b.node("Add", [m, scalar(b, 1e-6)])]);
        return b.node("Mul", [b.node("Div", [x, r]), vector(b, 8)]);
      });
    const got = make();
    await apply(got, [fuseRmsNorm, { spelling: "SimplifiedLayerNormalization" }], [removeDead]);
    expect(ops(got)).toEqual(["SimplifiedLayerNormalization"]);
    expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
  });

  const groupNorm = (b: ModelBuilder, x: ValueId): ValueId => {
    const split = b.node("Reshape", [x, b.constant(i64Tensor([0, 4, -1]))]);
    const inst = b.node("InstanceNormalization", [
      split,
      b.constant(f32Tensor([1, 1, 1, 1])),
      b.constant(f32Tensor([0, 0, 0, 0])),
    ]);
    const back = b.node("Reshape", [inst, b.node("Shape", [x])]);
    return b.node("Add", [b.node("Mul", [back, vector(b, 8, [8, 1, 1])]), vector(b, 8, [8, 1, 1])]);
  };

  it("group normalisation through InstanceNormalization", async () => {
    const make = () => model(21, [2, 8, 3, 3], groupNorm);
    const got = make();
    await apply(got, [fuseGroupNorm], [removeDead]);
    expect(ops(got)).toEqual(["GroupNormalization"]);
    expect(await difference(make(), got, { x: wave([2, 8, 3, 3]) })).toBeLessThan(ROUNDING);
  });

  it("its factor and offset as one BatchNormalization, to the bit", async () => {
    const make = () => model(17, [2, 8, 3, 3], groupNorm);
    const got = make();
    await apply(got, [fuseAffine], [removeDead]);
    expect(ops(got).at(-1)).toBe("BatchNormalization");
    expect(await difference(make(), got, { x: wave([2, 8, 3, 3]) })).toBe(0);
  });
});

describe("activations", () => {
  const silu = (b: ModelBuilder, x: ValueId) => b.node("Mul", [x, b.node("Sigmoid", [x])]);
  const gelu = (b: ModelBuilder, x: ValueId) => {
    const e = b.node("Erf", [b.node("Div", [x, scalar(b, Math.SQRT2)])]);
    return b.node("Mul", [b.node("Mul", [x, b.node("Add", [e, scalar(b, 1)])]), scalar(b, 0.5)]);
  };
  it.each([
    { opset: 20, spelling: "Gelu", make: gelu, want: "Gelu" },
    { opset: 17, spelling: "com.microsoft.Gelu", make: gelu, want: "com.microsoft:Gelu" },
    { opset: 17, spelling: "QuickGelu", make: silu, want: "com.microsoft:QuickGelu" },
  ])("$want", async ({ opset, spelling, make, want }) => {
    const build = () => model(opset, [2, 9], make);
    const got = build();
    await apply(got, [fuseActivation, { spelling }], [removeDead]);
    expect(ops(got)).toEqual([want]);
    expect(await difference(build(), got, { x: wave([2, 9]) })).toBeLessThan(ROUNDING);
  });
  it("says when the opset is too old", async () => {
    const got = model(17, [2, 9], gelu);
    const [d] = await apply(got, [fuseActivation, { spelling: "Gelu" }]);
    expect(d).toMatchObject({ kind: "skipped", why: "Gelu needs opset 20, the model has 17" });
  });
});

describe("attention", () => {
  interface Shape {
    readonly merge?: boolean;
    readonly keyPerm?: boolean;
    readonly mask?: "zero" | "full" | "row";
    readonly scale?: "scores" | "both";
    readonly wrongJoin?: boolean;
  }
  const H = 2;
  const D = 4;
  const attention =
    (o: Shape) =>
    (b: ModelBuilder, x: ValueId): ValueId => {
      const w = (phase: number) => b.constant(f32Tensor(floats(wave([64], phase)), [8, 8]), "w");
      const split = (v: ValueId, perm: number[]) => {
        const t = b.node("Transpose", [b.node("Reshape", [v, b.constant(i64Tensor([0, 0, H, D]))])], {
          perm,
        });
        const dims = perm[3] === 1 ? [-1, D, 5] : [-1, 5, D];
        return o.merge === true ? b.node("Reshape", [t, b.constant(i64Tensor(dims))]) : t;
      };
      const root = (v: ValueId) => (o.scale === "both" ? b.node("Mul", [v, scalar(b, Math.sqrt(0.5))]) : v);
      const q = root(split(b.node("MatMul", [x, w(1)]), [0, 2, 1, 3]));
      const key = b.node("MatMul", [x, w(2)]);
      const v = split(b.node("MatMul", [x, w(3)]), [0, 2, 1, 3]);
      let k: ValueId;
      if (o.keyPerm === true) k = split(key, [0, 2, 3, 1]);
      else
        k = b.node("Transpose", [split(key, [0, 2, 1, 3])], {
          perm: o.merge === true ? [0, 2, 1] : [0, 1, 3, 2],
        });
      let s = b.node("MatMul", [q, root(k)]);
      if (o.scale !== "both") s = b.node("Mul", [s, scalar(b, 0.5)]);
      if (o.mask === "zero") s = b.node("Add", [s, b.node("ConstantOfShape", [b.node("Shape", [s])])]);
      if (o.mask === "full")
        s = b.node("Add", [s, b.constant(f32Tensor(floats(wave([25], 9)), [1, 1, 5, 5]))]);
      if (o.mask === "row") s = b.node("Add", [s, b.constant(f32Tensor(floats(wave([5], 9)), [1, 1, 1, 5]))]);
      const p = b.node("Softmax", [s], { axis: -1 });
      let out = b.node("MatMul", [p, v]);
      if (o.merge === true) out = b.node("Reshape", [out, b.constant(i64Tensor([-1, H, 5, D]))]);
      const joined = o.wrongJoin === true ? out : b.node("Transpose", [out], { perm: [0, 2, 1, 3] });
      return b.node("Reshape", [joined, b.constant(i64Tensor([-1, 5, 8]))]);
    };
  const fused = ["MatMul", "MatMul", "MatMul"];

  it.each<Shape>([
    {},
    { merge: true },
    { keyPerm: true },
    { scale: "both" },
    { merge: true, mask: "zero" },
    { mask: "full" },
    { merge: true, keyPerm: true },
  ])("%o becomes MultiHeadAttention", async (o) => {
    const make = () => model(17, [2, 5, 8], attention(o));
    const got = make();
    await apply(got, [fuseAttention, { spelling: "com.microsoft.MultiHeadAttention" }], [removeDead]);
    expect(ops(got)).toEqual([...fused, "com.microsoft:MultiHeadAttention"]);
    expect(got.opsets.get("com.microsoft")).toBe(1);
    expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
  });

  it("becomes the standard Attention from opset 23", async () => {
    const make = () => model(23, [2, 5, 8], attention({ mask: "full" }));
    const got = make();
    await apply(got, [fuseAttention, { spelling: "Attention" }], [removeDead]);
    expect(ops(got)).toEqual([...fused, "Attention"]);
    expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
  });

  it.each<Shape>([{}, { keyPerm: true }, { scale: "both" }, { mask: "full" }, { mask: "zero" }])(
    "%o becomes the standard Attention of split heads",
    async (o) => {
      const make = () => model(23, [2, 5, 8], attention(o));
      const got = make();
      await apply(got, [fuseAttention, { spelling: "Attention", inputs: "heads" }], [removeDead]);
      expect(ops(got)).not.toContain("Softmax");
      const node = [...got.graph.nodes()].find((n) => n.op === "Attention")!;
      const shapes = inferShapes(got);
      const [q, k, v] = node.inputs;
      for (const id of [q, k, v]) expect(shapes.shape(id!)).toEqual([2, H, 5, D]);
      expect(node.attrs.has("q_num_heads")).toBe(false);
      // Only keys that lie transposed are turned.
      const moves = ops(got).filter((name) => name === "Transpose").length;
      expect(moves).toBe(o.keyPerm === true ? 5 : 4);
      expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
    },
  );
  it("needs no projections of their own behind the split of heads", async () => {
    const make = () =>
      model(23, [2, 5, 8], (b, x) => {
        const w = b.constant(f32Tensor(floats(wave([192])), [8, 24]), "w");
        const both = b.node("Reshape", [b.node("MatMul", [x, w]), b.constant(i64Tensor([0, 0, 3, H, D]))]);
        const moved = b.node("Transpose", [both], { perm: [2, 0, 3, 1, 4] });
        const part = (i: number) => b.node("Gather", [moved, b.constant(i64Tensor([i], []))], { axis: 0 });
        const keys = b.node("Transpose", [part(1)], { perm: [0, 1, 3, 2] });
        const s = b.node("Mul", [b.node("MatMul", [part(0), keys]), scalar(b, 0.5)]);
        const out = b.node("MatMul", [b.node("Softmax", [s], { axis: -1 }), part(2)]);
        const joined = b.node("Transpose", [out], { perm: [0, 2, 1, 3] });
        return b.node("Reshape", [joined, b.constant(i64Tensor([0, 0, 8]))]);
      });
    const apart = make();
    await apply(apart, [fuseAttention, { spelling: "Attention" }], [removeDead]);
    expect(ops(apart)).toContain("Softmax");
    const got = make();
    await apply(got, [fuseAttention, { spelling: "Attention", inputs: "heads" }], [removeDead]);
    expect(ops(got)).toContain("Attention");
    expect(ops(got)).not.toContain("Softmax");
    expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
  });
  it.each<Shape>([{ merge: true }, { merge: true, mask: "zero" }, { merge: true, keyPerm: true }])(
    "%o, batch and heads on one axis, gets heads of its own for it",
    async (o) => {
      const make = () => model(23, [2, 5, 8], attention(o));
      const got = make();
      await apply(got, [fuseAttention, { spelling: "Attention", inputs: "heads" }], [removeDead]);
      expect(ops(got)).not.toContain("Softmax");
      const node = [...got.graph.nodes()].find((n) => n.op === "Attention")!;
      const shapes = inferShapes(got);
      for (const id of node.inputs) expect(shapes.shape(id!)).toEqual([2, H, 5, D]);
      expect(await difference(make(), got, { x: wave([2, 5, 8]) })).toBeLessThan(ROUNDING);
    },
  );

  it.each([
    { o: { wrongJoin: true } as Shape, why: /joined/ },
    { o: { mask: "row" } as Shape, why: /mask/ },
  ])("is left alone with a reason: $why", async ({ o, why }) => {
    const got = model(17, [2, 5, 8], attention(o));
    const decisions = await apply(got, [fuseAttention, { spelling: "com.microsoft.MultiHeadAttention" }]);
    expect(ops(got)).toContain("Softmax");
    expect(decisions.find((d) => d.kind === "skipped")?.why).toMatch(why);
  });
});

it("MatMul and bias of a matrix become Gemm", async () => {
  const make = () =>
    model(17, ["b", 8], (b, x) => {
      const w = b.constant(f32Tensor(floats(wave([24])), [8, 3]));
      return b.node("Add", [vector(b, 3), b.node("MatMul", [x, w])]);
    });
  const got = make();
  await apply(got, [fuseGemm], [removeDead]);
  expect(ops(got)).toEqual(["Gemm"]);
  expect(await difference(make(), got, { x: wave([4, 8]) })).toBeLessThan(ROUNDING);
});

it("norms computed in another element type than their input are left alone", async () => {
  const got = model(17, [2, 5, 8], (b, x) => {
    const wide = b.node("Cast", [x], { to: 11 });
    const m = b.node("ReduceMean", [b.node("Mul", [wide, wide])], { axes: [-1] });
    const r = b.node("Sqrt", [b.node("Add", [m, b.constant(f64(1e-6))])]);
    return b.node("Cast", [b.node("Div", [wide, r])], { to: 1 });
  });
  await apply(got, [fuseRmsNorm, { spelling: "SimplifiedLayerNormalization" }], [removeDead]);
  expect(ops(got)).not.toContain("SimplifiedLayerNormalization");
});
