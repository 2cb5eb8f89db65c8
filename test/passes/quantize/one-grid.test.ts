import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { numbersOf } from "../../../src/ir/constants.ts";
import { intsAttr, type Model, type Node, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { target } from "../../../src/targets/index.ts";
import type { IntegerSupport, Target } from "../../../src/targets/target.ts";
import { ops, runtime } from "../harness.ts";
import { built, FEEDS, named } from "./built.ts";
import { denoiser } from "./denoiser.ts";
import { outputsOn, sqnr } from "./quantized.ts";

const rng = createRng(11);
const weight = (dims: readonly number[], size: number): Tensor =>
  f32Tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal() * size),
    dims,
  );
const WEIGHTS = {
  first: weight([16, 4, 3, 3], 0.2),
  narrow: weight([16, 16, 3, 3], 0.05),
  wide: weight([16, 16, 3, 3], 0.2),
  shortcut: weight([16, 32, 1, 1], 0.1),
  tokens: weight([16, 24], 0.2),
  last: weight([4, 16, 1, 1], 0.2),
};

/** Two convolutions of different ranges, joined, or one and a float, and a convolution of what is joined. */
function skips(o: { readonly float: boolean; readonly norm: boolean }): Model {
  const b = new ModelBuilder({ opset: 21 });
  const pads = { pads: intsAttr([1, 1, 1, 1]) };
  const conv = (x: ValueId, w: keyof typeof WEIGHTS, more = {}): ValueId =>
    b.node("Conv", [x, b.constant(WEIGHTS[w])], more, { name: w });
  const sample = b.input("sample", "f32", [2, 4, 8, 8]);
  const timestep = b.input("timestep", "i64", [1]);
  const t = b.node("Mul", [b.node("Cast", [timestep], { to: 1 }), b.constant(f32Tensor([1e-5], []))]);
  const first = b.node("Tanh", [b.node("Add", [conv(sample, "first", pads), t])]);
  const [narrow, wide] = [conv(first, "narrow", pads), o.float ? first : conv(first, "wide", pads)];
  const joined = b.node("Concat", [narrow, wide], { axis: 1 }, { name: "joined" });
  const shortcut = conv(joined, "shortcut");
  const tokens = b.node("Transpose", [b.node("Reshape", [shortcut, b.constant(i64Tensor([2, 16, 64]))])], {
    perm: intsAttr([0, 2, 1]),
  });
  const linear = b.node("MatMul", [tokens, b.constant(WEIGHTS.tokens)], {}, { name: "tokens" });
  const rest = b.node("ReduceMean", [linear, b.constant(i64Tensor([1, 2]))], { keepdims: 0 });
  const mean = (): ValueId =>
    b.node("ReduceMean", [joined, b.constant(i64Tensor([1, 2, 3]))], { keepdims: 0 });
  const sum = o.norm ? b.node("Add", [rest, mean()]) : rest;
  const scaled = b.node("Mul", [shortcut, b.node("Reshape", [sum, b.constant(i64Tensor([2, 1, 1, 1]))])]);
  return b.output(conv(scaled, "last"), "out_sample", tensorType("f32", [2, 4, 8, 8])).build();
}

const withMoves = (t: Target, moves: boolean): Target => {
  const { moves: own, ...integer } = t.integer!;
  return { ...t, integer: (moves ? { ...integer, moves: own } : integer) as IntegerSupport };
};

/** Scale and zero point of the conversion around a value. */
function gridAt({ graph }: Model, conversion: Node | undefined): readonly number[] {
  expect(conversion?.op).toMatch(/^(Q|Deq)uantizeLinear$/);
  return [1, 2].map((i) => numbersOf(graph.constant(conversion!.inputs[i]!))![0]!);
}

/** Grids in front of and behind a node. */
function around(model: Model, node: Node) {
  const { graph } = model;
  return {
    before: node.inputs
      .filter((id) => graph.constant(id!) === null)
      .map((id) => gridAt(model, graph.producer(id!))),
    behind: node.outputs.flatMap((o) => graph.users(o!).map((u) => gridAt(model, graph.node(u)))),
  };
}

async function findings(model: Model, t: Target) {
  const { reader } = await runtime();
  const [check] = await checkModel(model, [t], { reader });
  return check!.findings.filter((f) => f.rule === "GEN-5");
}

const openvino = target("openvino");
const qnn = target("qnn-htp");

describe("data between quantized layers", () => {
  it("is moved on one grid: a Concat has the union of its inputs on all sides", async () => {
    const { model } = await built({}, openvino, skips({ float: false, norm: false }));
    const joined = named(model, "joined");
    const { before, behind } = around(model, joined);
    expect(before).toHaveLength(2);
    expect(behind).toHaveLength(1);
    for (const grid of before) expect(grid).toEqual(behind[0]);
    // Without the rule the narrow branch had finer steps than the joined one.
    const own = await built({}, withMoves(openvino, false), skips({ float: false, norm: false }));
    const [narrow, wide] = around(own.model, named(own.model, "joined")).before;
    expect(narrow![0]).toBeLessThan(wide![0]! / 2);
    expect(behind[0]![0]).toBeGreaterThanOrEqual(wide![0]! * 0.9);
    expect(await findings(own.model, openvino)).not.toEqual([]);
    expect(await findings(model, openvino)).toEqual([]);
  });

  it("stays on its grid through Reshape and Transpose, which changes no number", async () => {
    const model = (await built({}, openvino, denoiser())).model;
    const plain = (await built({}, withMoves(openvino, false), denoiser())).model;
    for (const op of ["Reshape", "Transpose"])
      for (const node of [...model.graph.nodes()].filter((n) => n.op === op)) {
        const users = node.outputs.flatMap((o) => model.graph.users(o!));
        if (users.some((u) => model.graph.node(u).name === "last")) continue;
        const { before, behind } = around(model, node);
        expect(new Set([...before, ...behind].map((g) => g.join())).size).toBe(1);
      }
    // The result of one layer and the input of the next, moved in between, share a range: here the ranges are equal.
    expect(sqnr(await outputsOn(plain, FEEDS), await outputsOn(model, FEEDS))).toBeGreaterThan(60);
    const quantizers = (m: Model): number => ops(m).filter((op) => op === "QuantizeLinear").length;
    expect(quantizers(model)).toBeGreaterThan(quantizers(plain));
    expect(sqnr(await outputsOn(denoiser(), FEEDS), await outputsOn(model, FEEDS))).toBeGreaterThan(20);
  });

  it("a Concat with a float input: closed where all readers quantize it, and at 16 bits whoever reads it", async () => {
    for (const [t, norm, closed] of [
      [openvino, false, true],
      [openvino, true, false],
      [qnn, true, true],
    ] as const) {
      const source = (): Model => skips({ float: true, norm });
      const { model } = await built({}, t, source());
      const joined = named(model, "joined");
      const readers = model.graph.users(joined.outputs[0]!).map((u) => model.graph.node(u).op);
      const from = joined.inputs.map((id) => model.graph.producer(id!)?.op);
      const label = `${t.id} ${norm}`;
      expect(
        readers.every((op) => op === "QuantizeLinear"),
        label,
      ).toBe(closed);
      expect(
        from.every((op) => op === "DequantizeLinear"),
        label,
      ).toBe(closed);
      expect((await findings(model, t)).length, label).toBe(closed ? 0 : 1);
      if (closed) {
        const { before, behind } = around(model, joined);
        expect(new Set([...before, ...behind].map((g) => g.join())).size, label).toBe(1);
      }
      const exact = await outputsOn(source(), FEEDS);
      const least = t === qnn ? 30 : 18;
      expect(sqnr(exact, await outputsOn(model, FEEDS)), label).toBeGreaterThan(least);
    }
  });

  it("optimised and unoptimised sessions agree about it where products are added in 32 bits", async () => {
    const { model } = await built({}, openvino, skips({ float: false, norm: true }));
    const plain = await outputsOn(model, FEEDS);
    const config = { "session.x64quantprecision": "1" };
    expect(sqnr(plain, await outputsOn(model, FEEDS, { optimize: "all", config }))).toBeGreaterThan(40);
  });
});
