import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PruneAnalysis, type PruneGroup, pruneAnalysis } from "../../../src/ir/anatomy/groups/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { PatchBuilder } from "../../../src/ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { removeUnits, shapeErrors } from "../../../src/passes/prune/apply.ts";
import { removalOf } from "../../../src/passes/prune/removal.ts";
import { splitAxis } from "../../../src/runtime/kernels/kernel.ts";
import { difference, floats, runtime, wave } from "../../passes/harness.ts";

/** Sums of a few hundred float32 terms in another order, on values of order one. */
const TOLERANCE = 2e-4;

/** What a random network is made of. */
interface Net {
  readonly width: 8 | 16;
  readonly spaceSymbolic: boolean;
  readonly blocks: readonly { readonly kind: number; readonly hidden: 1 | 2 | 3; readonly knob: number }[];
}

const nets: fc.Arbitrary<Net> = fc.record({
  width: fc.constantFrom(8, 16),
  spaceSymbolic: fc.boolean(),
  blocks: fc.array(fc.record({ kind: fc.nat(5), hidden: fc.constantFrom(1, 2, 3), knob: fc.nat(3) }), {
    minLength: 1,
    maxLength: 4,
  }),
});

/** A small residual network on `[batch, width, 4, 4]` with what diffusion networks couple channels by. */
class Builder {
  readonly b = new ModelBuilder({ name: "net", opset: 17 });
  #salt = 0;
  readonly #like = new Map<number, ValueId>();
  weight(...dims: number[]): ValueId {
    const rng = createRng(this.#salt++, "groups", ...dims);
    const n = dims.reduce((a, d) => a * d, 1);
    const scale = 1 / Math.sqrt(n / dims[0]!);
    return this.b.constant(
      f32Tensor(
        Float32Array.from({ length: n }, () => scale * (2 * rng.float() - 1)),
        dims,
      ),
      "w",
    );
  }
  ints(...v: number[]): ValueId {
    return this.b.constant(i64Tensor(v), "i");
  }
  conv(x: ValueId, from: number, to: number, k: 1 | 3 = 3): ValueId {
    const attrs = { kernel_shape: [k, k], pads: k === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0] };
    return this.b.node("Conv", [x, this.weight(to, from, k, k), this.weight(to)], attrs);
  }
  linear(x: ValueId, from: number, to: number): ValueId {
    return this.b.node("Add", [this.b.node("MatMul", [x, this.weight(from, to)]), this.weight(to)]);
  }
  silu(x: ValueId): ValueId {
    return this.b.node("Mul", [x, this.b.node("Sigmoid", [x])]);
  }
  /** As exporters spell it: groups on axis 1, InstanceNormalization, back by the shape of the input. */
  groupNorm(x: ValueId, channels: number, groups: number): ValueId {
    const flat = this.b.node("Reshape", [x, this.ints(0, groups, -1)]);
    const ones = this.b.constant(f32Tensor(new Float32Array(groups).fill(1)), "one");
    const zeros = this.b.constant(f32Tensor(new Float32Array(groups)), "zero");
    const normal = this.b.node("InstanceNormalization", [flat, ones, zeros]);
    // A clean graph reads the shape off whichever value has it, also one that loses other channels.
    const like = this.#like.get(channels) ?? x;
    this.#like.set(channels, like);
    const back = this.b.node("Reshape", [normal, this.b.node("Shape", [like])]);
    return this.b.node("Add", [
      this.b.node("Mul", [back, this.weight(channels, 1, 1)]),
      this.weight(channels, 1, 1),
    ]);
  }
  resBlock(x: ValueId, time: ValueId, c: number, hidden: number, scaleShift: boolean): ValueId {
    const inner = 4 * hidden;
    let h = this.conv(this.silu(this.groupNorm(x, c, 4)), c, inner);
    if (scaleShift) {
      const pair = this.b.node("Gemm", [time, this.weight(2 * inner, 6), this.weight(2 * inner)], {
        transB: 1,
      });
      const [scale, shift] = this.b.multi("Split", [pair, this.ints(inner, inner)], 2, { axis: 1 });
      const up = (v: ValueId): ValueId => this.b.node("Unsqueeze", [v, this.ints(2, 3)]);
      const normal = this.groupNorm(h, inner, hidden);
      const one = this.b.constant(f32Tensor([1], []), "one");
      h = this.b.node("Add", [
        this.b.node("Mul", [normal, this.b.node("Add", [one, up(scale!)])]),
        up(shift!),
      ]);
    } else {
      const t = this.b.node("Gemm", [time, this.weight(6, inner), this.weight(inner)]);
      h = this.groupNorm(
        this.b.node("Add", [h, this.b.node("Unsqueeze", [t, this.ints(2, 3)])]),
        inner,
        hidden,
      );
    }
    return this.b.node("Add", [x, this.conv(this.silu(h), inner, c)]);
  }
  /** Tokens, heads, and back; `merged` folds heads into the batch through a computed shape. */
  attention(x: ValueId, c: number, heads: number, merged: boolean): ValueId {
    const size = 4;
    const flat = this.b.node("Transpose", [this.b.node("Reshape", [x, this.ints(0, c, -1)])], {
      perm: [0, 2, 1],
    });
    const one = this.ints(0);
    const project = (): ValueId => {
      const y = this.linear(flat, c, heads * size);
      const split = this.b.node("Reshape", [y, this.ints(0, 0, heads, size)]);
      const turned = this.b.node("Transpose", [split], { perm: [0, 2, 1, 3] });
      if (!merged) return turned;
      const length = (of: ValueId, axis: number): ValueId =>
        this.b.node("Gather", [this.b.node("Shape", [of]), this.ints(axis)], { axis: 0 });
      const batch = this.b.node("Mul", [length(x, 0), this.ints(heads)]);
      const target = this.b.node("Concat", [batch, length(flat, 1), this.ints(size)], { axis: 0 });
      const like = this.#like.get(-heads);
      const folded = this.b.node("Reshape", [
        turned,
        like === undefined ? target : this.b.node("Shape", [like]),
      ]);
      this.#like.set(-heads, like ?? folded);
      return folded;
    };
    const [q, k, v] = [project(), project(), project()];
    const perm = merged ? [0, 2, 1] : [0, 1, 3, 2];
    const scores = this.b.node("MatMul", [q, this.b.node("Transpose", [k], { perm })]);
    const scale = this.b.constant(f32Tensor([0.5], []), "scale");
    let y = this.b.node("MatMul", [
      this.b.node("Softmax", [this.b.node("Mul", [scores, scale])], { axis: -1 }),
      v,
    ]);
    if (merged) {
      const batch = this.b.node("Gather", [this.b.node("Shape", [x]), one], { axis: 0 });
      const tokens = this.b.node("Gather", [this.b.node("Shape", [flat]), this.ints(1)], { axis: 0 });
      const target = this.b.node("Concat", [batch, this.ints(heads), tokens, this.ints(size)], { axis: 0 });
      y = this.b.node("Reshape", [y, target]);
    }
    y = this.b.node("Reshape", [
      this.b.node("Transpose", [y], { perm: [0, 2, 1, 3] }),
      this.ints(0, 0, heads * size),
    ]);
    const out = this.b.node("Transpose", [this.linear(y, heads * size, c)], { perm: [0, 2, 1] });
    return this.b.node("Add", [x, this.b.node("Reshape", [out, this.b.node("Shape", [x])])]);
  }
  gated(x: ValueId, c: number, hidden: number): ValueId {
    const tokens = this.b.node("Transpose", [x], { perm: [0, 2, 3, 1] });
    const pair = this.linear(tokens, c, 2 * hidden);
    const [a, g] = this.b.multi("Split", [pair, this.ints(hidden, hidden)], 2, { axis: 3 });
    const y = this.linear(this.b.node("Mul", [a!, this.silu(g!)]), hidden, c);
    return this.b.node("Add", [x, this.b.node("Transpose", [y], { perm: [0, 3, 1, 2] })]);
  }
}

function build(net: Net): Model {
  const n = new Builder();
  const c = net.width;
  const space = net.spaceSymbolic ? ["height", "width"] : [4, 4];
  const x = n.b.input("x", "f32", ["batch", 3, ...space]);
  const time = n.b.input("time", "f32", ["batch", 6]);
  let h = n.conv(x, 3, c);
  const skips: ValueId[] = [];
  for (const { kind, hidden, knob } of net.blocks) {
    if (kind < 2) h = n.resBlock(h, time, c, hidden, kind === 1);
    else if (kind === 2) h = n.attention(h, c, hidden + 1, knob % 2 === 1);
    else if (kind === 3) h = n.gated(h, c, 3 * hidden);
    else if (kind === 4) skips.push(h);
    else if (skips.length > 0) {
      const both = n.b.node("Concat", [h, skips.pop()!], { axis: 1 });
      h = n.conv(n.silu(n.groupNorm(both, 2 * c, 4)), 2 * c, c);
    }
  }
  n.b.output(n.conv(n.silu(n.groupNorm(h, c, 4)), c, 3), "y", { kind: "tensor", dtype: "f32", shape: null });
  return n.b.build();
}

const FEEDS = { x: wave([2, 3, 4, 4]), time: wave([2, 6], 1) };

/** The graph in its old shape with zeros where a consumer reads what a unit holds. */
async function mask(model: Model, groups: readonly PruneGroup[], units: ReadonlySet<number>): Promise<Model> {
  const copy = cloneModel(model);
  const rt = await runtime();
  for (const g of groups)
    for (const c of g.consumers) {
      const node = copy.graph.node(c.node);
      const tensor = copy.graph.constant(node.inputs[c.input])!;
      const x = floats({ dtype: "f32", dims: tensor.dims, bytes: await rt.reader.read(tensor) }).slice();
      const { outer, length, inner } = splitAxis(tensor.dims, c.axis);
      const gone = new Set(g.units.flatMap((u, i) => (units.has(u) ? [...c.columns[i]!] : [])));
      for (let o = 0; o < outer; o++)
        for (const i of gone) x.fill(0, (o * length + i) * inner, (o * length + i + 1) * inner);
      const patch = new PatchBuilder(copy.graph, "mask");
      const inputs = node.inputs.with(c.input, patch.constant(f32Tensor(x, tensor.dims), "masked"));
      patch.replace(node, { inputs });
      patch.apply();
    }
  return copy;
}

function pruned(model: Model, analysis: PruneAnalysis, units: ReadonlySet<number>): Model {
  const copy = cloneModel(model);
  removeUnits(copy, analysis, units);
  expect(shapeErrors(copy, analysis, removalOf(analysis, units))).toEqual([]);
  return copy;
}

describe("groups on random networks", () => {
  it("removing any unit of any exact group equals masking it", async () => {
    await fc.assert(
      fc.asyncProperty(nets, fc.nat(1000), async (net, pick) => {
        const model = build(net);
        const analysis = pruneAnalysis(model, inferShapes(model));
        const groups = analysis.groups.filter((g) => g.mixed === null && g.units.length > 1);
        const units = new Set(groups.map((g) => g.units[pick % g.units.length]!));
        if (units.size === 0) return;
        const small = pruned(model, analysis, units);
        expect(await difference(small, await mask(model, groups, units), FEEDS)).toBeLessThan(TOLERANCE);
      }),
      { numRuns: 60, seed: 4 },
    );
  }, 120_000);

  it("finds every hidden width it was built with", () => {
    const net: Net = {
      width: 16,
      spaceSymbolic: true,
      blocks: [
        { kind: 0, hidden: 3, knob: 0 },
        { kind: 1, hidden: 2, knob: 0 },
        { kind: 2, hidden: 2, knob: 0 },
        { kind: 2, hidden: 3, knob: 1 },
        { kind: 3, hidden: 2, knob: 0 },
      ],
    };
    const model = build(net);
    const { groups, refused } = pruneAnalysis(model, inferShapes(model));
    const sizes = groups.map((g) => `${g.kind} ${g.units.length}x${g.width}`);
    expect(sizes).toEqual(["stage 4x4", "inner 3x4", "inner 2x4", "heads 3x4", "heads 4x4", "ffn 6x1"]);
    expect(refused.map((r) => r.why)).toEqual(["an output of the model"]);
    // A unit of the block with scale and shift: rows of both, norm parameters, convolution and its bias.
    expect(groups[2]!.producers.map((p) => p.rows[0]!.length).sort()).toEqual([1, 1, 4, 4, 4, 4, 8, 8]);
    // Both rows of a gated pair.
    expect([...groups[5]!.producers[0]!.rows[2]!]).toEqual([2, 8]);
  });
});

describe("norms over what is removed", () => {
  it("a layer norm sees the elements that are left", async () => {
    const n = new Builder();
    const x = n.b.input("x", "f32", ["batch", 5, 6]);
    const h = n.linear(x, 6, 8);
    const normal = n.b.node("LayerNormalization", [h, n.weight(8), n.weight(8)], { axis: -1, epsilon: 1e-5 });
    n.b.output(n.linear(normal, 8, 3), "y", { kind: "tensor", dtype: "f32", shape: null });
    const model = n.b.build();
    const analysis = pruneAnalysis(model, inferShapes(model));
    const [group] = analysis.groups;
    expect(group!.mixed).toBe("LayerNormalization over it");
    expect(group!.kind).toBe("stage");
    const small = pruned(model, analysis, new Set([group!.units[1]!, group!.units[6]!]));
    // The expectation by hand: mean and variance over six of eight elements.
    const rt = await runtime();
    const at = async (input: number, node: string): Promise<Float32Array> => {
      const found = [...model.graph.nodes()].filter((v) => v.op === node)[input < 0 ? 1 : 0]!;
      const t = model.graph.constant(found.inputs[Math.abs(input)])!;
      return floats({ dtype: "f32", dims: t.dims, bytes: await rt.reader.read(t) });
    };
    const [w1, w2, gamma, beta] = [
      await at(1, "MatMul"),
      await at(-1, "MatMul"),
      await at(1, "LayerNormalization"),
      await at(2, "LayerNormalization"),
    ];
    const [b1, b2] = [await at(1, "Add"), await at(-1, "Add")];
    const feed = wave([2, 5, 6]);
    const values = floats(feed);
    const keep = [0, 2, 3, 4, 5, 7];
    const expected: number[] = [];
    for (let r = 0; r < 10; r++) {
      const hidden = keep.map(
        (k) => b1[k]! + [...Array(6).keys()].reduce((s, i) => s + values[r * 6 + i]! * w1[i * 8 + k]!, 0),
      );
      const mean = hidden.reduce((s, v) => s + v, 0) / 6;
      const spread = Math.sqrt(hidden.reduce((s, v) => s + (v - mean) ** 2, 0) / 6 + 1e-5);
      for (let o = 0; o < 3; o++)
        expected.push(
          b2[o]! +
            hidden.reduce(
              (s, v, i) =>
                s + (((v - mean) / spread) * gamma[keep[i]!]! + beta[keep[i]!]!) * w2[keep[i]! * 3 + o]!,
              0,
            ),
        );
    }
    const found = floats((await rt.evaluator.run(small, new Map([["x", feed]]))).get("y")!);
    for (const [i, v] of expected.entries()) expect(Math.abs(found[i]! - v)).toBeLessThan(TOLERANCE);
  });
});

describe("fused attention", () => {
  it("loses a head with its projections and its count", async () => {
    const n = new Builder();
    const x = n.b.input("x", "f32", ["batch", 5, 8]);
    const [q, k, v] = [n.linear(x, 8, 12), n.linear(x, 8, 12), n.linear(x, 8, 12)];
    const y = n.b.node("MultiHeadAttention", [q, k, v], { num_heads: 3 }, { domain: "com.microsoft" });
    n.b.output(n.linear(y, 12, 8), "y", { kind: "tensor", dtype: "f32", shape: null });
    const model = { ...n.b.build() };
    model.opsets = new Map([...model.opsets, ["com.microsoft", 1]]);
    const analysis = pruneAnalysis(model, inferShapes(model));
    expect(analysis.groups.map((g) => [g.kind, g.units.length, g.width])).toEqual([["heads", 3, 4]]);
    const units = new Set([analysis.groups[0]!.units[1]!]);
    const small = pruned(model, analysis, units);
    const masked = await mask(model, analysis.groups, units);
    expect(await difference(small, masked, { x: wave([2, 5, 8]) })).toBeLessThan(TOLERANCE);
  });
});
