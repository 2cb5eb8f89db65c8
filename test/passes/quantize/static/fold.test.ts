import { describe, expect, it } from "vitest";
import { fixture } from "../../../../fixtures/build/index.ts";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { cloneModel } from "../../../../src/ir/clone.ts";
import { intAttr, type Model, type ValueId } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { PatchBuilder } from "../../../../src/ir/patch.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
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
  const inverse = patch.constant(f32Tensor(factor.map((f) => 1 / f)), "inverse");
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
});
