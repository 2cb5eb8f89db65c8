import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { fixture } from "../../../fixtures/build/index.ts";
import { createKit } from "../../../fixtures/build/kit.ts";
import { type Anatomy, anatomy, type Part, type PartKind } from "../../../src/ir/anatomy/index.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { readModel } from "../../../src/ir/onnx/index.ts";
import { jointModel } from "./joint.ts";

const CIFAR = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));

function study(model: Model): Anatomy {
  return anatomy(model, inferShapes(model));
}

function tally(words: readonly string[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const w of [...words].sort()) out[w] = (out[w] ?? 0) + 1;
  return out;
}

function parts<K extends PartKind>(a: Anatomy, kind: K): Extract<Part, { kind: K }>[] {
  return a.parts.filter((p): p is Extract<Part, { kind: K }> => p.kind === kind);
}

const roles = (a: Anatomy): Record<string, string> =>
  Object.fromEntries(a.inputs.map((i) => [i.name, i.role]));

describe("a trained U-Net as exported", () => {
  let model: Model;
  let a: Anatomy;
  beforeAll(async () => {
    model = await readModel(CIFAR);
    a = study(model);
  });

  it("has the inputs, blocks and layers of its architecture and nothing unexplained", () => {
    expect(roles(a)).toEqual({
      sample: "sample",
      timestep: "timestep",
      encoder_hidden_states: "encoder-states",
    });
    expect(tally(a.parts.map((p) => p.kind))).toEqual({
      activation: 32,
      attention: 14,
      downsample: 2,
      "feed-forward": 7,
      norm: 51,
      resblock: 11,
      "skip-concat": 6,
      "spatial-transformer": 7,
      "time-embedding": 1,
      "transformer-block": 7,
      upsample: 2,
    });
    expect(tally(a.layers.map((l) => l.kind))).toEqual({
      "attn.k": 14,
      "attn.out": 14,
      "attn.q": 14,
      "attn.v": 14,
      conv1: 11,
      conv2: 11,
      downsample: 2,
      "ff.in": 7,
      "ff.out": 7,
      first: 1,
      last: 1,
      "proj.in": 7,
      "proj.out": 7,
      shortcut: 7,
      "time.mlp": 2,
      "time.proj": 11,
      upsample: 2,
    });
    expect(a.misses).toEqual([]);
  });

  it("alternates self- and cross-attention of four heads with inner width 16", () => {
    const attentions = parts(a, "attention");
    expect(attentions.map((p) => p.sees)).toEqual(
      Array.from({ length: 14 }, (_, i) => (i % 2 ? "cross" : "self")),
    );
    expect(new Set(attentions.map((p) => `${p.heads}x${p.headDim} ${p.match.scale}`))).toEqual(
      new Set(["4x16 0.25"]),
    );
    expect(attentions.every((p) => p.residuals.length === 1 && p.residuals[0]?.gate === null)).toBe(true);
    expect(parts(a, "feed-forward").every((p) => p.gated && p.activation === "gelu")).toBe(true);
  });

  it("names parts by the exporter's scopes and nests them", () => {
    const [first] = parts(a, "attention");
    const chain: string[] = [];
    for (
      let p: Part | undefined = first;
      p !== undefined;
      p = p.parent === null ? undefined : a.parts[p.parent]
    )
      chain.push(`${p.kind} ${p.name}`);
    expect(chain).toEqual([
      "attention /net/down_blocks.1/attentions.0/transformer_blocks.0/attn1",
      "transformer-block /net/down_blocks.1/attentions.0/transformer_blocks.0",
      "spatial-transformer /net/down_blocks.1/attentions.0",
    ]);
    const [block] = parts(a, "resblock");
    expect(block?.name).toBe("/net/down_blocks.0/resnets.0");
    expect(new Set(a.parts.map((p) => `${p.kind} ${p.name}`)).size).toBe(a.parts.length);
  });

  it("answers for any node, shape computations included", () => {
    const named = (name: string) => [...model.graph.nodes()].find((n) => n.name === name)!;
    const scope = "/net/down_blocks.1/attentions.0";
    const inner = a.byNode(named(`${scope}/transformer_blocks.0/attn1/to_q/MatMul`).id);
    expect(inner.map((p) => p.kind)).toEqual(["spatial-transformer", "transformer-block", "attention"]);
    const shape = a.byNode(named(`${scope}/transformer_blocks.0/attn1/Gather_2`).id);
    expect(shape.map((p) => p.kind)).toEqual(["spatial-transformer", "transformer-block", "attention"]);
    const bias = named(`${scope}/transformer_blocks.0/attn1/to_out.0/Add`);
    expect(a.layer(bias.id)?.kind).toBe("attn.out");
    expect(a.byNode(named("/net/conv_out/Conv").id)).toEqual([]);
  });

  it("knows residual blocks inside out", () => {
    const blocks = parts(a, "resblock");
    expect(blocks.filter((p) => p.shortcut !== null)).toHaveLength(7);
    for (const p of blocks) {
      expect(p.timeForm).toBe("add");
      const [n1, n2] = [a.parts[p.norm1], a.parts[p.norm2]];
      expect([n1?.kind, n2?.kind]).toEqual(["norm", "norm"]);
      expect(n1?.parent).toBe(p.id);
      expect(a.layer(p.conv1)?.part).toBe(p.id);
      expect(a.layer(p.time!)?.conditioningOnly).toBe(true);
    }
  });

  it("tells the kept features of skip concats from the stream", () => {
    const skips = parts(a, "skip-concat");
    expect(skips.map((s) => s.widths)).toEqual([
      [64, 64],
      [64, 64],
      [64, 64],
      [64, 32],
      [64, 32],
      [32, 32],
    ]);
    const names = skips.map((s) => model.graph.value(s.skips[0]!).name);
    expect(names.every((n) => n.startsWith("/net/down_blocks") || n.startsWith("/net/conv_in"))).toBe(true);
  });
});

describe("a diffusion transformer", () => {
  const a = study(fixture("tiny-dit").build());

  it("has modulated norms, gates and class labels", () => {
    expect(roles(a)).toEqual({ hidden_states: "sample", timestep: "timestep", class_labels: "class-labels" });
    const modulations = parts(a, "modulation");
    expect(modulations).toHaveLength(4);
    for (const m of modulations) {
      expect(m.plusOne).toBe(true);
      expect(a.layer(m.linear!)).toMatchObject({ kind: "adaln", conditioningOnly: true });
      expect(a.parts[m.norm]).toMatchObject({ kind: "norm", parent: m.id });
    }
    for (const p of parts(a, "attention")) expect(p.residuals[0]?.gate).not.toBeNull();
    for (const p of parts(a, "feed-forward")) {
      expect(p).toMatchObject({ activation: "gelu-tanh", gated: false });
      expect(p.residual?.gate).not.toBeNull();
    }
    expect(parts(a, "transformer-block").map((p) => [p.attentions.length, p.feedForwards.length])).toEqual([
      [1, 1],
      [1, 1],
    ]);
    expect(tally(a.layers.map((l) => l.kind))).toMatchObject({ adaln: 2, first: 1, last: 1, "time.mlp": 2 });
    expect(a.misses).toEqual([]);
  });
});

describe("joint attention of image and text tokens", () => {
  const model = jointModel();
  const a = study(model);

  it("finds both streams of one attention", () => {
    const [attention, ...rest] = parts(a, "attention");
    expect(rest).toEqual([]);
    expect(attention).toMatchObject({ sees: "joint", heads: 2, headDim: 4 });
    for (const side of ["q", "k", "v", "out"] as const)
      expect(attention?.[side].map((n) => model.graph.node(n).name)).toEqual([
        `image.${side === "out" ? "o" : side}`,
        `text.${side === "out" ? "o" : side}`,
      ]);
    expect(attention?.residuals).toHaveLength(2);
    expect(parts(a, "transformer-block")).toMatchObject([{ attentions: [attention?.id] }]);
    expect(parts(a, "transformer-block")[0]?.feedForwards).toHaveLength(2);
  });

  it("names the inputs, q and k norms, gated feed-forwards and the conditioning path", () => {
    expect(roles(a)).toEqual({
      hidden_states: "sample",
      encoder_hidden_states: "encoder-states",
      pooled_projections: "text-embeds",
      timestep: "timestep",
      guidance: "guidance",
      img_ids: "positions",
    });
    expect(tally(parts(a, "norm").map((n) => n.match.kind))).toEqual({ "layer-norm": 5, "rms-norm": 4 });
    expect(parts(a, "feed-forward")).toMatchObject([
      { activation: "silu", gated: true },
      { activation: "silu", gated: true },
    ]);
    const kinds = tally(a.layers.map((l) => l.kind));
    expect(kinds).toMatchObject({
      adaln: 2,
      "ff.in": 2,
      "ff.gate": 2,
      "ff.out": 2,
      "cond.proj": 1,
      first: 1,
      last: 1,
    });
    expect((kinds["time.mlp"] ?? 0) + (kinds["cond.mlp"] ?? 0)).toBe(6);
  });
});

describe("other spellings", () => {
  it("reads merged projections and fused operators", () => {
    const k = createKit({ opset: 17, domains: { "com.microsoft": 1 } });
    const { b } = k;
    const x = b.input("sample", "f32", ["n", 6, 8]);
    const h = k.linear("embed", x, 8, 8);
    const packed = k.reshape(k.linear("qkv", h, 8, 24), [0, -1, 3, 2, 4]);
    const five = b.node("Transpose", [packed], { perm: [2, 0, 3, 1, 4] });
    const [q, key, v] = [0, 1, 2].map((i) => b.node("Gather", [five, k.i64(i)], { axis: 0 })) as [
      ValueId,
      ValueId,
      ValueId,
    ];
    const scores = b.node("MatMul", [q, b.node("Transpose", [key], { perm: [0, 1, 3, 2] })]);
    const out = b.node("MatMul", [
      b.node("Softmax", [b.node("Mul", [scores, k.scalar(0.5)])], { axis: -1 }),
      v,
    ]);
    const merged = k.reshape(b.node("Transpose", [out], { perm: [0, 2, 1, 3] }), [0, -1, 8]);
    const one = b.node("Add", [h, k.linear("o1", merged, 8, 8)]);
    const [q2, k2, v2] = ["q2", "k2", "v2"].map((n) => k.linear(n, one, 8, 8)) as [ValueId, ValueId, ValueId];
    const fused = b.node("MultiHeadAttention", [q2, k2, v2], { num_heads: 2 }, { domain: "com.microsoft" });
    const two = b.node("Add", [one, k.linear("o2", fused, 8, 8)]);
    const gelu = b.node("Gelu", [k.linear("up", two, 8, 32)], {}, { domain: "com.microsoft" });
    b.output(k.linear("out", b.node("Add", [two, k.linear("down", gelu, 32, 8)]), 8, 8), "out");
    const model = b.build();
    const a = study(model);
    const kinds = Object.fromEntries(a.layers.map((l) => [model.graph.node(l.node).name, l.kind]));
    expect(kinds).toMatchObject({
      embed: "first",
      qkv: "attn.qkv",
      o1: "attn.out",
      q2: "attn.q",
      k2: "attn.k",
      v2: "attn.v",
      o2: "attn.out",
      up: "ff.in",
      down: "ff.out",
      out: "last",
    });
    expect(parts(a, "attention").map((p) => [p.sees, p.heads, p.headDim])).toEqual([
      ["self", 2, 4],
      ["self", 2, 4],
    ]);
    expect(parts(a, "transformer-block")).toHaveLength(1);
  });

  it("reads residual blocks with scale-shift conditioning, pooling and GroupNormalization", () => {
    const k = createKit({ opset: 21 });
    const { b } = k;
    const x = b.input("x", "f32", ["n", 3, "h", "w"]);
    const t = b.input("t", "f32", ["n"]);
    const wave = b.node("Mul", [b.node("Unsqueeze", [t, k.i64([1])]), k.f32("freq", [1, 4])]);
    const both = b.node("Concat", [b.node("Sin", [wave]), b.node("Cos", [wave])], { axis: -1 });
    const time = k.gemm("time.2", k.silu(k.gemm("time.1", both, 8, 8)), 8, 8);
    const norm = (name: string, v: ValueId): ValueId =>
      b.node("GroupNormalization", [v, k.f32(`${name}.w`, [8]), k.f32(`${name}.b`, [8])], { num_groups: 2 });
    const pool = (v: ValueId): ValueId =>
      b.node("AveragePool", [v], { kernel_shape: [2, 2], strides: [2, 2] });
    const first = k.conv("in", x, 3, 8, 3);
    const c1 = k.conv("c1", pool(k.silu(norm("n1", first))), 8, 8, 3);
    const rows = b.multi("Split", [k.gemm("proj", k.silu(time), 8, 16)], 2, { axis: 1, num_outputs: 2 });
    const image = (v: ValueId): ValueId => b.node("Unsqueeze", [v, k.i64([2, 3])]);
    const scaled = b.node("Mul", [norm("n2", c1), b.node("Add", [image(rows[0]!), k.scalar(1)])]);
    const c2 = k.conv("c2", k.silu(b.node("Add", [scaled, image(rows[1]!)])), 8, 8, 3);
    const sum = b.node("Add", [pool(first), c2]);
    b.output(k.conv("out", k.silu(norm("n3", sum)), 8, 3, 3), "y");
    const model = b.build();
    const a = study(model);
    const [block] = parts(a, "resblock");
    expect(block).toMatchObject({ timeForm: "scale-shift", resamples: "down", shortcut: null });
    expect(model.graph.node(block!.time!).name).toBe("proj");
    expect(a.layer(block!.time!)?.kind).toBe("time.proj");
    expect(parts(a, "norm").map((n) => n.match.groups)).toEqual([2, 2, 2]);
    expect(parts(a, "downsample")).toEqual([]);
  });

  it("gives a network without diffusion structure roles by position only", () => {
    const k = createKit();
    const ids = k.b.input("input_ids", "i64", ["n", 8]);
    k.b.output(k.b.node("Gather", [k.f32("table", [32, 64]), ids]), "states");
    const a = study(k.b.build());
    expect(roles(a)).toEqual({ input_ids: "token-ids" });
    expect([a.parts, a.layers, a.misses]).toEqual([[], [], []]);
  });

  it("explains layers that no part claims", () => {
    const k = createKit();
    const x = k.b.input("x", "f32", ["n", 3, 8, 8]);
    const middle = k.b.node("Relu", [k.conv("a", x, 3, 4, 3)]);
    k.b.output(k.conv("c", k.b.node("Relu", [k.conv("b", middle, 4, 4, 3)]), 4, 3, 3));
    const model = k.b.build();
    const a = study(model);
    expect(a.layers.map((l) => l.kind)).toEqual(["first", "other", "last"]);
    expect(a.misses.map((m) => [m.pattern, model.graph.node(m.node).name])).toEqual([["layer-role", "b"]]);
  });
});

describe("hostile graphs", () => {
  it("with endless chains of steps that do nothing are read without running out of stack", () => {
    const k = createKit();
    const { b } = k;
    const x = b.input("x", "f32", ["n", 4, 8]);
    let s = x;
    for (let i = 0; i < 20_000; i++) s = b.node("Identity", [s]);
    let z = b.node("ConstantOfShape", [b.node("Shape", [x])]);
    for (let i = 0; i < 20_000; i++) z = b.node("Expand", [z, b.node("Shape", [x])]);
    const soft = b.node(
      "Softmax",
      [b.node("Add", [b.node("MatMul", [x, b.node("Transpose", [s], { perm: [0, 2, 1] })]), s])],
      { axis: -1 },
    );
    b.output(b.node("MatMul", [soft, s]));
    b.output(b.node("Mul", [z, b.node("Sigmoid", [s])]));
    expect(study(b.build()).parts.length).toBeLessThan(5);
  });
});
