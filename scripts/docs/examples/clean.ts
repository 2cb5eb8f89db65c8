import { f32Tensor } from "../../../src/ir/tensor.ts";
import { createKit } from "../../../fixtures/build/kit.ts";
import type { Examples } from "./example.ts";
import { model } from "./models.ts";

const ramp = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => i - n / 2);

export const clean: Examples = {
  "inline-functions": {
    of: "a call of a function that the model brings along",
    build() {
      const k = createKit({ name: "example", opset: 17, domains: { local: 1 } });
      k.b.func("local", "Swish", (g) => {
        const x = g.inputOf("x", null);
        g.output(g.node("Mul", [x, g.node("Sigmoid", [x])]), "y");
      });
      const x = k.b.input("x", "f32", ["batch", 4]);
      const y = k.b.node("Swish", [x], {}, { domain: "local", name: "swish" });
      return k.b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    },
  },
  "fold-constants": {
    of: "a Reshape whose target an exporter computes from the shape, and a scale made of constants",
    build: () =>
      model([2, 8, 4, 4], (k, x) => {
        const flat = k.reshape(x, [{ of: k.axis(x, 0) }, 8, 16]);
        return k.b.node("Mul", [flat, k.b.node("Sqrt", [k.scalar(0.25)])]);
      }),
  },
  simplify: {
    of: "transposes that cancel and arithmetic that changes nothing",
    build: () =>
      model(["batch", 4, 6], (k, x) => {
        const there = k.b.node("Transpose", [x], { perm: [0, 2, 1] });
        const back = k.b.node("Transpose", [k.b.node("Relu", [there])], { perm: [0, 2, 1] });
        return k.b.node("Tanh", [k.b.node("Mul", [back, k.scalar(1)])]);
      }),
  },
  "merge-duplicates": {
    of: "one value computed twice",
    build: () =>
      model(["batch", 4], (k, x) => k.b.node("Mul", [k.b.node("Sigmoid", [x]), k.b.node("Sigmoid", [x])])),
  },
  "dedupe-weights": {
    of: "two layers with equal weights, and a third with their transpose",
    build: () =>
      model(["batch", 8], (k, x) => {
        const w = ramp(64);
        const turned = w.map((_, i) => w[(i % 8) * 8 + (i >> 3)]!);
        const one = k.b.node("MatMul", [x, k.b.constant(f32Tensor(w, [8, 8]), "one")]);
        const two = k.b.node("MatMul", [k.b.node("Relu", [one]), k.b.constant(f32Tensor(w, [8, 8]), "two")]);
        return k.b.node("MatMul", [two, k.b.constant(f32Tensor(turned, [8, 8]), "three")]);
      }),
    options: { minBytes: 1 },
  },
  "remove-dead": {
    of: "a branch whose result nothing reads",
    build: () =>
      model(["batch", 4], (k, x) => {
        k.b.node("Exp", [k.linear("unused", x, 4, 4)]);
        return k.b.node("Relu", [x]);
      }),
  },
  "specialise-shapes": {
    of: "a model of any batch and size",
    build: () => model(["batch", 4, "height", "width"], (k, x) => k.conv("conv", x, 4, 8, 3)),
    options: { dims: { batch: 2, height: 16, width: 16 } },
  },
};
