import { expect } from "vitest";
import type { Model } from "../../../src/ir/graph.ts";
import { type Mini, mini } from "./graphs.ts";
import { type Lab, type MiniRule, sqnrOf } from "./lab.ts";

/** The reject is refused when it is loaded or run, and the accept is not. */
const refuses = async (lab: Lab, { accept, reject }: { accept: Model; reject: Model }): Promise<void> => {
  expect(await lab.refusal(accept), "the accepted graph loads and runs").toBeNull();
  expect(await lab.refusal(reject), "the rejected graph is refused").not.toBeNull();
};

/** An operator of the session's own graph that only one of the two has. */
const fuses =
  (op: string) =>
  async (lab: Lab, { accept, reject }: { accept: Model; reject: Model }): Promise<void> => {
    expect((await lab.ops(accept)).get(op) ?? 0, `the accepted graph becomes ${op}`).toBeGreaterThan(0);
    expect((await lab.ops(reject)).get(op) ?? 0, `the rejected graph does not become ${op}`).toBe(0);
  };

const conv = (
  b: Mini,
  o: { out?: "u8" | null; activation?: "u8" | "i8" | "u16"; four?: boolean; most?: number } = {},
) => {
  const type = o.activation ?? "u8";
  const x = b.pair(b.x([1, 16, 8, 8]), { type, zero: type === "u8" ? 128 : 0 });
  const w = o.four
    ? b.node("DequantizeLinear", [
        b.raw("i4", [16, 16, 3, 3], 0x21),
        b.floats([], () => 0.05),
        b.raw("i4", [], 0),
      ])
    : b.weight([16, 16, 3, 3], { most: o.most ?? 60 });
  const y = b.node("Conv", [x, w], { pads: [1, 1, 1, 1] }, { name: "layer" });
  return o.out === null ? y : b.pair(y, { type, scale: 0.2, zero: type === "u8" ? 128 : 0 });
};

const gemm = (factor: number) => (b: Mini) => {
  const bias = b.node("DequantizeLinear", [
    b.int("i32", [8], (i) => 4000 * (i + 1)),
    b.floats([], () => factor * 0.02 * 0.01),
    b.int("i32", [], () => 0),
  ]);
  return b.pair(b.node("Gemm", [b.pair(b.x([4, 16])), b.weight([16, 8]), bias], {}, { name: "layer" }), {
    scale: 0.1,
  });
};

const product = (o: { opset: number; type: "u8" | "i8" }) =>
  mini(o.opset, (b) => {
    const grid = { type: o.type, zero: o.type === "u8" ? 128 : 0 };
    const y = b.node("MatMul", [b.pair(b.x([2, 4, 16]), grid), b.weight([16, 8])], {}, { name: "layer" });
    return b.pair(b.node("Add", [y, b.floats([8])]), grid);
  });

const moved = (second: number) =>
  mini(21, (b) =>
    b.pair(b.node("Reshape", [b.pair(b.x([4, 8])), b.longs([32])], {}, { name: "layer" }), { scale: second }),
  );

const tokens = (weight: (b: Mini) => number, x: readonly number[] = [4, 32]) =>
  mini(21, (b) => b.node("MatMul", [b.x(x), weight(b) as never], {}, { name: "layer" }));

/** Rules that the CPU provider at hand can show. */
export const runnable: Readonly<Record<string, MiniRule>> = {
  "GEN-1": {
    target: "cpu-x64",
    accept: () => mini(26, (b) => b.node("Relu", [b.x([4])])),
    reject: [
      () => mini(27, (b) => b.node("Relu", [b.x([4])])),
      () => ({ ...mini(21, (b) => b.node("Relu", [b.x([4])])), irVersion: 14 }),
    ],
    proof: refuses,
  },
  "GEN-3": {
    target: "cpu-x64",
    accept: () => product({ opset: 20, type: "i8" }),
    reject: [
      () => product({ opset: 21, type: "i8" }),
      () => mini(21, (b) => b.node("Relu", [b.pair(b.x([4]), { type: "i8" }, { output_dtype: 3 })])),
    ],
    proof: refuses,
  },
  "GEN-4": {
    target: "cpu-x64",
    accept: () => mini(21, gemm(1)),
    reject: [() => mini(21, gemm(3))],
    proof: async (lab, { accept, reject }) => {
      expect(sqnrOf(await lab.run(accept, "disable"), await lab.run(accept, "all"))).toBeGreaterThan(45);
      expect(sqnrOf(await lab.run(reject, "disable"), await lab.run(reject, "all"))).toBeLessThan(10);
    },
  },
  "GEN-5": {
    target: "cpu-x64",
    accept: () => moved(0.02),
    reject: [() => moved(0.05)],
    proof: async (lab, { accept, reject }) => {
      expect((await lab.ops(accept)).get("DequantizeLinear")).toBe(1);
      expect((await lab.ops(reject)).get("DequantizeLinear")).toBe(2);
    },
  },
  "GEN-6": {
    target: "cpu-x64",
    accept: () =>
      mini(21, (b) => {
        const h = b.node("MatMul", [b.x([4, 32]), b.blocks([32, 32], 0)]);
        return b.node("MatMul", [h, b.blocks([32, 32], 0)]);
      }),
    reject: [
      () =>
        mini(21, (b) => {
          const w = b.blocks([32, 32], 0);
          return b.node("MatMul", [b.node("MatMul", [b.x([4, 32]), w]), w]);
        }),
    ],
    proof: fuses("com.microsoft:MatMulNBits"),
  },
  "GEN-7": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => b.pair(b.x([8]))),
    reject: [
      () => mini(21, (b) => b.pair(b.x([8]), { scale: Number.POSITIVE_INFINITY })),
      () => mini(21, (b) => b.pair(b.x([8]), { scale: 0 })),
    ],
    proof: async (lab, { accept, reject }) => {
      const [x, y] = [await lab.feed(accept), await lab.run(accept, "disable")];
      expect(sqnrOf(x, y)).toBeGreaterThan(20);
      const broken = await lab.run(reject, "disable");
      expect(broken.every(Number.isFinite) && sqnrOf(x, broken) > 20).toBe(false);
    },
  },
  "GEN-9": {
    target: "cpu-x64",
    accept: () =>
      mini(21, (b) =>
        b.pair(b.node("Sigmoid", [b.pair(b.x([4, 8]))], {}, { name: "layer" }), { scale: 1 / 256, zero: 0 }),
      ),
    reject: [
      () => mini(21, (b) => b.pair(b.node("Tanh", [b.pair(b.x([4, 8]))], {}, { name: "layer" }))),
      () =>
        mini(21, (b) =>
          b.pair(b.node("Sub", [b.pair(b.x([4, 8])), b.pair(b.floats([4, 8]))], {}, { name: "layer" })),
        ),
      () => mini(21, (b) => b.pair(b.node("Erf", [b.pair(b.x([4, 8]))], {}, { name: "layer" }))),
      () => mini(21, (b) => b.pair(b.node("HardSwish", [b.pair(b.x([4, 8]))], {}, { name: "layer" }))),
      () =>
        mini(21, (b) =>
          b.pair(b.node("ReduceMean", [b.pair(b.x([4, 8])), b.longs([1])], {}, { name: "layer" })),
        ),
    ],
    proof: fuses("com.microsoft:QLinearSigmoid"),
  },
  "CPU-1": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => conv(b, { most: 63 })),
    reject: [
      () =>
        mini(21, (b) =>
          b.pair(
            b.node(
              "MatMul",
              [b.pair(b.x([4, 64]), { zero: 0, scale: 0.0083 }), lump(b)],
              {},
              { name: "layer" },
            ),
            {
              scale: 1,
            },
          ),
        ),
    ],
    proof: async (lab, { accept, reject }) => {
      const exact = { "session.x64quantprecision": "1" };
      const differs = async (m: Model): Promise<number> => {
        const [fast, slow] = [await lab.run(m, "all"), await lab.run(m, "all", exact)];
        return Math.max(...fast.map((v, i) => Math.abs(v - slow[i]!)));
      };
      expect(await differs(accept)).toBe(0);
      // Processors with 8-bit dot products do not saturate.
      if (lab.dotProducts) expect(await differs(reject)).toBe(0);
      else expect(await differs(reject)).toBeGreaterThan(1);
    },
  },
  "CPU-2": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => conv(b)),
    reject: [() => mini(21, (b) => conv(b, { out: null }))],
    proof: fuses("com.microsoft:QLinearConv"),
  },
  "CPU-2, a bias behind a product": {
    target: "cpu-x64",
    accept: () => product({ opset: 21, type: "u8" }),
    reject: [
      () =>
        mini(21, (b) =>
          b.node("Add", [
            b.node("MatMul", [b.pair(b.x([2, 4, 16])), b.weight([16, 8])], {}, { name: "layer" }),
            b.floats([8]),
          ]),
        ),
    ],
    proof: fuses("com.microsoft:QGemm"),
  },
  "CPU-3": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => conv(b)),
    reject: [
      () => mini(21, (b) => conv(b, { activation: "u16" })),
      () => mini(21, (b) => conv(b, { four: true })),
    ],
    proof: fuses("com.microsoft:QLinearConv"),
  },
  "CPU-4": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => b.node("MatMul", [b.x([4, 8]), b.floats([8, 4])])),
    reject: [
      () => {
        const make = (b: Mini) => {
          const [x, w] = [b.x([4, 8]), b.floats([8, 4])].map((v) => b.node("Cast", [v], { to: 16 }));
          return b.node("Cast", [b.node("MatMul", [x!, w!], {}, { name: "layer" })], { to: 1 });
        };
        return mini(21, make);
      },
      () =>
        mini(23, (b) =>
          b.node("MatMul", [
            b.x([4, 8]),
            b.node("DequantizeLinear", [b.raw("f4e2m1", [8, 4], 0x22), b.floats([], () => 1)]),
          ]),
        ),
      () =>
        mini(21, (b) =>
          b.contrib("GroupNorm", [b.x([1, 8, 8, 16]), b.floats([16]), b.floats([16])], {
            groups: 4,
            activation: 0,
            channels_last: 1,
          }),
        ),
      () => mini(21, (b) => b.contrib("BiasSplitGelu", [b.x([1, 4, 2560]), b.floats([2560])])),
      () => mini(21, (b) => b.contrib("BiasAdd", [b.x([1, 4, 320]), b.floats([320]), b.floats([1, 4, 320])])),
      () =>
        mini(21, (b) =>
          b.contrib("NhwcConv", [b.x([1, 8, 8, 4]), b.floats([4, 1, 1, 4])], { kernel_shape: [1, 1] }),
        ),
      () => mini(21, (b) => b.contrib("MultiHeadAttention", [b.x([1, 4, 2, 3, 8])], { num_heads: 2 })),
    ],
    proof: refuses,
  },
  "CPU-5": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => b.nbits(b.x([4, 32]), { k: 32, n: 8 })),
    reject: [() => tokens((b) => b.blocks([32, 32], 0))],
    proof: async (lab, { accept, reject }) => {
      const error = async (m: Model): Promise<number> =>
        sqnrOf(await lab.run(m, "disable"), await lab.run(m, "all"));
      expect(await error(accept)).toBeGreaterThan(100);
      expect(await error(reject)).toBeLessThan(70);
    },
  },
  "CPU-6": {
    target: "cpu-x64",
    accept: () => tokens((b) => b.blocks([32, 32], 0)),
    reject: [
      () => tokens((b) => b.blocks([32, 32], 1)),
      () => tokens((b) => b.blocks([2, 32, 32], 1), [2, 4, 32]),
    ],
    proof: fuses("com.microsoft:MatMulNBits"),
  },
  "CPU-7": {
    target: "cpu-x64",
    accept: () => mini(21, (b) => b.nbits(b.x([4, 32]), { k: 32, n: 8, bits: 8, zero: "u8" })),
    reject: [() => mini(21, (b) => b.nbits(b.x([4, 32]), { k: 32, n: 8, bits: 8, zero: "f32" }))],
    proof: refuses,
  },
};

/** A weight of 127 all over. */
function lump(b: Mini) {
  return b.node("DequantizeLinear", [
    b.int("i8", [64, 8], () => 127),
    b.floats([], () => 0.01),
    b.int("i8", [], () => 0),
  ]);
}
