import { describe, expect, it } from "vitest";
import { fixture } from "../../../../fixtures/build/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { cloneModel } from "../../../../src/ir/clone.ts";
import { intAttr, intsAttr, type Model, type ValueId } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { PatchBuilder } from "../../../../src/ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../../../src/ir/tensor.ts";
import { createRng } from "../../../../src/numeric/rng.ts";
import { findFold } from "../../../../src/passes/quantize/static/fold.ts";
import { findSites, type Site } from "../../../../src/passes/quantize/static/sites.ts";
import { wave } from "../../harness.ts";
import { weight } from "../layered.ts";
import { outputsOn, prepared, sqnr, trajectory } from "./static.ts";

const ALL = { match: null, exclude: null, minElements: 1, guards: false };

function sitesOf(model: Model): readonly Site[] {
  return findSites(model, inferShapes(model), ALL).sites;
}

/** Powers of two are exact in floats: what is multiplied in and divided out again leaves no trace. */
function powers(n: number): Float64Array {
  const rng = createRng(n, "powers");
  return Float64Array.from({ length: n }, () => 2 ** (rng.int(9) - 4));
}

/** Multiplies a site by a factor where it folds, and divides it out in front of its layers. */
function roundTrip(model: Model, site: Site, factor: Float64Array): string | null {
  const { graph } = model;
  const fold = findFold(graph, inferShapes(model), site);
  if (fold === null) return null;
  const patch = new PatchBuilder(graph, "test");
  fold.apply(patch, factor);
  const dims = site.kind === "conv" ? [site.channels, 1, 1] : [site.channels];
  const inverse = patch.constant(
    f32Tensor(
      factor.map((f) => 1 / f),
      dims,
    ),
    "inverse",
  );
  const [back] = patch.node({ op: "Mul", name: `inverse${site.value}`, inputs: [site.value, inverse] });
  for (const l of site.layers)
    patch.replace(l.node, { inputs: l.node.inputs.map((id) => (id === site.value ? back : id)) });
  patch.apply();
  return fold.rule;
}

/** Norm, something between, and a linear layer: input "x" [2, 5, 8], output "y". */
function normed(between: (b: ModelBuilder, n: ValueId) => ValueId): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [2, 5, 8]);
  const n = b.node(
    "LayerNormalization",
    [x, b.constant(f32Tensor(powers(8), [8])), b.constant(weight([8]))],
    { axis: intAttr(-1) },
  );
  const y = b.node("MatMul", [between(b, n), b.constant(weight([8, 6]))]);
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [2, 5, 6] }).build();
}

describe("factors folded into norms", () => {
  it.each(["tiny-unet", "tiny-dit"])(
    "%s: wherever a fold is found the network computes the same",
    async (name) => {
      const f = fixture(name);
      const before = await prepared(f);
      const model = cloneModel(before);
      const rules: string[] = [];
      for (const site of sitesOf(model)) {
        const rule = roundTrip(model, site, powers(site.channels));
        if (rule !== null) rules.push(rule);
      }
      expect(rules).toContain(name === "tiny-unet" ? "layer-norm" : "modulation");
      if (name === "tiny-unet") expect(rules).toContain("affine");
      expect(rules.length).toBeGreaterThan(2);
      const feeds = trajectory(f, before);
      const [y, z] = [
        await outputsOn(before, feeds, { optimize: "disable" }),
        await outputsOn(model, feeds, { optimize: "disable" }),
      ];
      expect(sqnr(y, z)).toBeGreaterThan(120);
    },
  );

  it("layer-norm: the site's value comes out multiplied, exactly", async () => {
    const model = normed((_b, n) => n);
    const [site] = sitesOf(model);
    const factor = powers(8);
    const scaled = cloneModel(model);
    const patch = new PatchBuilder(scaled.graph, "test");
    findFold(scaled.graph, inferShapes(scaled), site!)!.apply(patch, factor);
    patch.apply();
    const feeds = [new Map([["x", wave([2, 5, 8])]])];
    const divided = cloneModel(scaled);
    const back = new PatchBuilder(divided.graph, "test");
    const [layer] = sitesOf(divided)[0]!.layers;
    const inverse = back.constant(f32Tensor(factor.map((v) => 1 / v)), "inverse");
    const [product] = back.node({ op: "Mul", name: "inverse", inputs: [layer!.input, inverse] });
    back.replace(layer!.node, { inputs: [product, layer!.node.inputs[1]!] });
    back.apply();
    expect(await outputsOn(divided, feeds, { optimize: "disable" })).toEqual(
      await outputsOn(model, feeds, { optimize: "disable" }),
    );
    expect(await outputsOn(scaled, feeds)).not.toEqual(await outputsOn(model, feeds));
  });

  it("none where something else reads the value, it is an output, or what makes it is no norm", () => {
    const fold = (model: Model): unknown => {
      const site = sitesOf(model)[0]!;
      return findFold(model.graph, inferShapes(model), site);
    };
    expect(fold(normed((_b, n) => n))).not.toBeNull();
    expect(fold(normed((b, n) => b.node("Relu", [n])))).toBeNull();
    expect(
      fold(
        normed((b, n) => {
          b.output(b.node("Neg", [n]), "other", { kind: "tensor", dtype: "f32", shape: [2, 5, 8] });
          return n;
        }),
      ),
    ).toBeNull();
    expect(
      fold(
        normed((b, n) => {
          b.output(n, "other", { kind: "tensor", dtype: "f32", shape: [2, 5, 8] });
          return n;
        }),
      ),
    ).toBeNull();
    // A full-size addend would have to be multiplied element by element.
    expect(fold(normed((b, n) => b.node("Add", [n, b.input("z", "f32", [2, 5, 8])])))).toBeNull();
  });

  it.each(["group-norm", "affine", "rms-norm"] as const)(
    "%s: also through a reshape and a transpose, exactly",
    async (rule) => {
      const b = new ModelBuilder({ opset: rule === "rms-norm" ? 23 : 21 });
      const k = (dims: readonly number[]) => b.constant(f32Tensor(powers(8), dims));
      let tokens: ValueId;
      if (rule === "rms-norm") {
        const x = b.input("x", "f32", [2, 5, 8]);
        tokens = b.node("RMSNormalization", [x, k([8])], { axis: intAttr(-1) });
      } else {
        const x = b.input("x", "f32", [2, 8, 3, 4]);
        const normed = b.node(
          "GroupNormalization",
          [x, rule === "affine" ? b.constant(f32Tensor(new Float32Array(8).fill(1))) : k([8]), k([8])],
          { num_groups: intAttr(2) },
        );
        const moved =
          rule === "affine"
            ? b.node("Add", [b.node("Mul", [k([8, 1, 1]), normed]), k([1, 8, 1, 1])])
            : normed;
        const flat = b.node("Reshape", [moved, b.constant(i64Tensor([2, 8, 12]))]);
        tokens = b.node("Transpose", [flat], { perm: intsAttr([0, 2, 1]) });
      }
      const y = b.node("MatMul", [tokens, b.constant(weight([8, 6]))]);
      const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
      const folded = cloneModel(model);
      expect(roundTrip(folded, sitesOf(folded)[0]!, powers(8))).toBe(rule);
      const feeds = [new Map([["x", wave(rule === "rms-norm" ? [2, 5, 8] : [2, 8, 3, 4])]])];
      const how = { optimize: "disable" } as const;
      expect(await outputsOn(folded, feeds, how)).toEqual(await outputsOn(model, feeds, how));
    },
  );

  it("none through a reshape that takes channels apart, or along another axis", () => {
    const fold = (shape: readonly number[], perm: readonly number[], dims: readonly number[]): unknown => {
      const b = new ModelBuilder({ opset: 21 });
      const x = b.input("x", "f32", [2, 8, 8, 8]);
      const scaled = b.node("Mul", [x, b.constant(f32Tensor(powers(8), dims))]);
      const moved = b.node("Transpose", [b.node("Reshape", [scaled, b.constant(i64Tensor(shape))])], {
        perm: intsAttr(perm),
      });
      const y = b.node("MatMul", [moved, b.constant(weight([8, 6]))]);
      const model = b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
      return findFold(model.graph, inferShapes(model), sitesOf(model)[0]!);
    };
    expect(fold([2, 8, 64], [0, 2, 1], [8, 1, 1])).not.toBeNull();
    expect(fold([2, 64, 8], [0, 1, 2], [8])).not.toBeNull();
    expect(fold([2, 64, 8], [0, 1, 2], [8, 1, 1])).toBeNull();
    expect(fold([16, 8, 8], [0, 2, 1], [8, 1, 1])).toBeNull();
    expect(fold([2, 8, 64], [0, 2, 1], [8, 1])).toBeNull();
  });
});
