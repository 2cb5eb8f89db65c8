import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";

/** A model of one float input "x" and one output "y". */
export function model(
  dims: readonly (number | string)[],
  make: (k: Kit, x: ValueId) => ValueId,
  opset = 17,
): Model {
  const k = createKit({ name: "example", opset, domains: { "com.microsoft": 1 } });
  const y = make(k, k.b.input("x", "f32", dims));
  return k.b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** Channels between the first and the last layer of {@link denoiser}. */
export const CHANNELS = 16;

/** Layers of a U-Net between a first and a last convolution that guards leave alone; it can be sampled. */
export function denoiser(make: (k: Kit, h: ValueId, timestep: ValueId) => ValueId, opset = 17): Model {
  const k = createKit({ name: "example", opset, domains: { "com.microsoft": 1 } });
  const { b } = k;
  const sample = b.input("sample", "f32", ["batch", 4, 8, 8]);
  const timestep = b.input("timestep", "i64", ["batch"]);
  const out = k.conv(
    "conv_out",
    make(k, k.conv("conv_in", sample, 4, CHANNELS, 3), timestep),
    CHANNELS,
    4,
    3,
  );
  return b.output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: ["batch", 4, 8, 8] }).build();
}

/** Self-attention as one operator between linear layers without biases. */
export function attention(
  k: Kit,
  x: ValueId,
  o: { readonly width: number; readonly heads: number },
): ValueId {
  const { b } = k;
  const project = (name: string, from: ValueId): ValueId =>
    b.node("MatMul", [from, k.f32(`${name}.weight`, [o.width, o.width], o.width ** -0.5)], {}, { name });
  const inputs = ["q", "k", "v"].map((name) => project(name, x));
  const options = { name: "attention", domain: "com.microsoft" };
  const scale = floatAttr((o.width / o.heads) ** -0.5);
  return project("out", b.node("MultiHeadAttention", inputs, { num_heads: o.heads, scale }, options));
}

/** Two convolutions whose result is added to what they read. */
export function block(k: Kit, h: ValueId): ValueId {
  const inner = k.conv("first", k.silu(h), CHANNELS, CHANNELS, 3);
  return k.b.node("Add", [h, k.conv("second", k.silu(inner), CHANNELS, CHANNELS, 3)]);
}

/** A denoiser of one residual block. */
export const residual = (): Model => denoiser(block);

/** A layer behind the first one, which guards count as a first one too. */
export function lead(k: Kit, h: ValueId): ValueId {
  return k.b.node("Relu", [k.conv("conv_in.1", h, CHANNELS, CHANNELS, 1)]);
}

/** The image as tokens, and back. */
export function onTokens(k: Kit, x: ValueId, channels: number, make: (tokens: ValueId) => ValueId): ValueId {
  const { b } = k;
  const tokens = b.node("Transpose", [b.node("Reshape", [x, k.i64([0, channels, 64])])], { perm: [0, 2, 1] });
  const back = b.node("Transpose", [make(tokens)], { perm: [0, 2, 1] });
  return b.node("Reshape", [back, k.i64([0, channels, 8, 8])]);
}
