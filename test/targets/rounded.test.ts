import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { roundedTwin } from "../../src/targets/rounded.ts";
import { floats, ops, runtime } from "../passes/harness.ts";

/** A number rounded to fp16, by its definition: 11 significant bits, ties to even, infinity from 65520 on. */
function half(x: number): number {
  if (Math.abs(x) >= 65520) return Math.sign(x) * Number.POSITIVE_INFINITY;
  const unit = 2 ** Math.max(Math.floor(Math.log2(Math.abs(x))) - 10, -24);
  const whole = Math.floor(x / unit);
  const rest = x / unit - whole;
  const up = rest > 0.5 || (rest === 0.5 && whole % 2 !== 0);
  return (up ? whole + 1 : whole) * unit;
}

const INPUT = Array.from({ length: 64 }, (_, i) => 3 * Math.sin(1.3 * i + 0.2));

function model(make: (b: ModelBuilder, x: ValueId) => ValueId): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.node("Cast", [b.input("x", "f32", [64])], { to: 10 });
  const y = b.node("Cast", [make(b, x)], { to: 1 });
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [64] }).build();
}

async function run(m: Model, optimize: "all" | "disable"): Promise<readonly number[]> {
  const session = await (await runtime()).openSession(m, { optimize });
  const bytes = new Uint8Array(Float32Array.from(INPUT).buffer);
  const out = await session.run(new Map([["x", { dtype: "f32", dims: [64], bytes }]]));
  await session.release();
  return [...floats(out.get("y")!)];
}

const chain = () => model((b, x) => b.node("Tanh", [b.node("Sigmoid", [b.node("Sigmoid", [x])])]));
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const EACH = INPUT.map((x) => half(Math.tanh(half(sigmoid(half(sigmoid(half(Math.fround(x)))))))));

describe("roundedTwin", () => {
  it.each(["all", "disable"] as const)(
    "rounds what the runtime would not, optimisation %s",
    async (level) => {
      const m = chain();
      const twin = roundedTwin(m)!;
      expect(verifyModel(twin).filter((d) => d.severity === "error")).toEqual([]);
      expect(ops(m)).not.toContain("Max");
      const [plain, rounded] = [await run(m, level), await run(twin, level)];
      // The runtime's own answer is not even a number of fp16: if that changes, the twin is no longer needed.
      expect(plain.filter((v) => half(v) === v).length).toBeLessThan(32);
      expect(rounded.every((v) => half(v) === v)).toBe(true);
      // A function off by one in its last place in fp32 may round to the other neighbour once in a while.
      expect(rounded.filter((v, i) => v === EACH[i]).length).toBeGreaterThan(60);
    },
  );

  it("shows an overflow that the runtime hides", async () => {
    const m = model((b, x) => {
      const square = b.node("Mul", [x, x]);
      const fourth = b.node("Mul", [square, square]);
      const large = b.node("Mul", [b.node("Mul", [fourth, fourth]), fourth]);
      return b.node("Div", [large, large]);
    });
    expect((await run(m, "all")).every(Number.isFinite)).toBe(true);
    expect((await run(roundedTwin(m)!, "all")).some(Number.isNaN)).toBe(true);
  });

  it("keeps ids and names, leaves data movement and fp32 alone, and is null where nothing is half", async () => {
    const m = model((b, x) =>
      b.node("Neg", [b.node("Reshape", [x, b.node("Shape", [x])])], {}, { outputNames: ["minus"] }),
    );
    const twin = roundedTwin(m)!;
    expect(ops(twin).filter((o) => o === "Max")).toHaveLength(4);
    const minus = [...m.graph.values()].find((v) => v.name === "minus")!;
    expect(twin.graph.value(minus.id).name).toBe("minus");
    expect(twin.graph.producer(minus.id)?.op).toBe("Max");
    expect(roundedTwin(twin)).not.toBeNull();

    const b = new ModelBuilder({ opset: 21 });
    const y = b.node("Neg", [b.input("x", "f32", [4])]);
    expect(roundedTwin(b.output(y, "y", { kind: "tensor", dtype: "f32", shape: [4] }).build())).toBeNull();
  });
});
