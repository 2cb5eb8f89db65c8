import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";

const WIDTH = 8;
const HEADS = 2;

function norm(k: Kit, x: ValueId): ValueId {
  const ones = k.constantOnes("norm.weight", WIDTH);
  return k.b.node("LayerNormalization", [x, ones], { axis: -1 });
}

function modulate(k: Kit, x: ValueId, scale: ValueId, shift: ValueId): ValueId {
  const { b } = k;
  const row = (v: ValueId): ValueId => b.node("Unsqueeze", [v, k.i64([1])]);
  return b.node("Add", [b.node("Mul", [x, b.node("Add", [k.scalar(1), row(scale)])]), row(shift)]);
}

/** Root mean square norm of each head, as newer transformers put on q and k. */
function headNorm(k: Kit, name: string, x: ValueId): ValueId {
  const { b } = k;
  const mean = b.node("ReduceMean", [b.node("Pow", [x, k.scalar(2)])], { axes: [-1] });
  const inverse = b.node("Reciprocal", [b.node("Sqrt", [b.node("Add", [mean, k.scalar(1e-6)])])]);
  return b.node("Mul", [b.node("Mul", [x, inverse]), k.f32(`${name}.weight`, [WIDTH / HEADS])]);
}

function heads(k: Kit, name: string, x: ValueId, normed: boolean): ValueId {
  const split = k.reshape(k.linear(name, x, WIDTH, WIDTH), [0, -1, HEADS, WIDTH / HEADS]);
  const moved = k.b.node("Transpose", [split], { perm: [0, 2, 1, 3] });
  return normed ? headNorm(k, `${name}.norm`, moved) : moved;
}

/** x·cos + rotate(x)·sin with tables made from coordinates. */
function rotary(k: Kit, x: ValueId, angles: ValueId): ValueId {
  const { b } = k;
  const half = (from: number, to: number): ValueId =>
    b.node("Slice", [x, k.i64([from]), k.i64([to]), k.i64([-1])]);
  const d = WIDTH / HEADS;
  const turned = b.node("Concat", [b.node("Neg", [half(d / 2, d)]), half(0, d / 2)], { axis: -1 });
  return b.node("Add", [
    b.node("Mul", [x, b.node("Cos", [angles])]),
    b.node("Mul", [turned, b.node("Sin", [angles])]),
  ]);
}

function swiGlu(k: Kit, name: string, x: ValueId): ValueId {
  const gate = k.silu(k.linear(`${name}.gate`, x, WIDTH, 4 * WIDTH));
  const value = k.linear(`${name}.value`, x, WIDTH, 4 * WIDTH);
  return k.linear(`${name}.out`, k.b.node("Mul", [value, gate]), 4 * WIDTH, WIDTH);
}

/** One block in which image and text tokens attend to each other (SD 3, FLUX): two streams, one attention. */
export function jointModel(): Model {
  const k = createKit({ opset: 17, name: "joint" }, 31);
  const { b } = k;
  const latent = b.input("hidden_states", "f32", ["batch", 16, WIDTH]);
  const text = b.input("encoder_hidden_states", "f32", ["batch", 6, WIDTH]);
  const pooled = b.input("pooled_projections", "f32", ["batch", WIDTH]);
  const timestep = b.input("timestep", "f32", ["batch"]);
  const guidance = b.input("guidance", "f32", ["batch"]);
  const ids = b.input("img_ids", "f32", [22, 1]);

  const wave = (name: string, v: ValueId): ValueId => {
    const angle = b.node("Mul", [
      b.node("Unsqueeze", [v, k.i64([1])]),
      k.f32(`${name}.freq`, [1, WIDTH / 2]),
    ]);
    const both = b.node("Concat", [b.node("Cos", [angle]), b.node("Sin", [angle])], { axis: -1 });
    return k.gemm(`${name}.2`, k.silu(k.gemm(`${name}.1`, both, WIDTH, WIDTH)), WIDTH, WIDTH);
  };
  const vector = k.gemm("pool.2", k.silu(k.gemm("pool.1", pooled, WIDTH, WIDTH)), WIDTH, WIDTH);
  const condition = k.silu(
    b.node("Add", [b.node("Add", [wave("time", timestep), wave("guide", guidance)]), vector]),
  );
  const angles = b.node("Mul", [ids, k.f32("rope", [1, WIDTH / HEADS])]);

  const streams = (["image", "text"] as const).map((name) => {
    const x =
      name === "image" ? k.linear("x_embed", latent, WIDTH, WIDTH) : k.linear("c_embed", text, WIDTH, WIDTH);
    const six = b.multi("Split", [k.gemm(`${name}.mod`, condition, WIDTH, 6 * WIDTH)], 6, { axis: 1 });
    return { name, x, mod: six as ValueId[], normed: modulate(k, norm(k, x), six[1]!, six[0]!) };
  });
  const joined = (part: string, normed: boolean): ValueId =>
    b.node(
      "Concat",
      streams.map((s) => heads(k, `${s.name}.${part}`, s.normed, normed)),
      { axis: 2 },
    );
  const q = rotary(k, joined("q", true), angles);
  const key = b.node("Transpose", [rotary(k, joined("k", true), angles)], { perm: [0, 1, 3, 2] });
  const scores = b.node("Mul", [b.node("MatMul", [q, key]), k.scalar((WIDTH / HEADS) ** -0.5)]);
  const mixed = b.node("MatMul", [b.node("Softmax", [scores], { axis: -1 }), joined("v", false)]);
  const merged = k.reshape(b.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), [0, -1, WIDTH]);
  const ends = streams.map((s, i) => {
    const part = b.node("Slice", [merged, k.i64([i === 0 ? 0 : 16]), k.i64([i === 0 ? 16 : 22]), k.i64([1])]);
    const gated = (v: ValueId, gate: ValueId): ValueId =>
      b.node("Mul", [b.node("Unsqueeze", [gate, k.i64([1])]), v]);
    const h = b.node("Add", [s.x, gated(k.linear(`${s.name}.o`, part, WIDTH, WIDTH), s.mod[2]!)]);
    const ff = swiGlu(k, `${s.name}.ff`, modulate(k, norm(k, h), s.mod[4]!, s.mod[3]!));
    return b.node("Add", [h, gated(ff, s.mod[5]!)]);
  });
  b.output(k.linear("proj_out", norm(k, ends[0]!), WIDTH, WIDTH), "sample");
  b.output(ends[1]!, "text_out");
  return b.build();
}
