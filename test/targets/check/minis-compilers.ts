import type { MiniRule } from "./lab.ts";
import { type Mini, mha, mini, plain, resize, single } from "./graphs.ts";

const symmetric = (b: Mini, x: ReturnType<Mini["x"]>) => b.pair(x, { type: "i8" });

const attention = (rank: number, extra: { mask?: number[]; precision?: boolean } = {}) =>
  mini(24, (b) => {
    const q = b.x(rank === 4 ? [1, 2, 8, 16] : [1, 8, 32]);
    const mask = extra.mask === undefined ? [] : [b.floats(extra.mask)];
    return b.node("Attention", [q, q, q, ...mask], {
      ...(rank !== 4 && { q_num_heads: 2, kv_num_heads: 2 }),
      ...(extra.precision && { softmax_precision: 1 }),
    });
  });

/** Weights of which every second one, or the first half of each row, is zero. */
const sparse = (alternating: boolean) =>
  mini(21, (b) =>
    b.node("MatMul", [
      b.x([4, 16]),
      b.floats([16, 4], (i) => ((alternating ? Math.floor(i / 4) % 2 : Number(i >= 32)) === 0 ? 0 : 1)),
    ]),
  );

/** Rules of GPU runtimes that are not at hand, by target. */
export const compilers: Readonly<Record<string, MiniRule>> = {
  "GEN-8": {
    target: "qnn-htp",
    accept: () => single({ shape: [1, 4] }, "Relu", () => []),
    reject: [
      () => single({ shape: ["batch", 4] }, "Relu", () => []),
      () => single({ shape: [4, 4] }, "NonZero", () => [], {}),
    ],
  },
  "OPS-1": {
    target: "migraphx",
    accept: () => single({ shape: [1, 4, 8] }, "Relu", () => []),
    reject: [
      () =>
        single({ shape: [1, 4, 8] }, "com.microsoft:BiasAdd", (b) => [b.floats([8]), b.floats([1, 4, 8])]),
      () => single({ opset: 24, shape: [1, 4, 8] }, "Swish", () => []),
    ],
  },
  "OPS-2": {
    target: "qnn-htp",
    accept: () => single({ shape: [1, 1, 1, 2, 2] }, "Relu", () => []),
    reject: [() => single({ shape: [1, 1, 1, 1, 2, 2] }, "Relu", () => [])],
  },
  "TRT-1": {
    target: "tensorrt",
    accept: () => mini(21, (b) => b.node("MatMul", [symmetric(b, b.x([4, 16])), b.weight([16, 8])])),
    reject: [
      () => mini(21, (b) => b.node("MatMul", [b.pair(b.x([4, 16])), b.weight([16, 8])])),
      () =>
        mini(21, (b) => b.node("MatMul", [b.pair(b.x([4, 16]), { type: "i8", zero: 3 }), b.weight([16, 8])])),
      () =>
        mini(21, (b) => {
          const bias = b.node("DequantizeLinear", [b.int("i32", [8], (i) => i), b.floats([], () => 2e-4)]);
          return b.node("Gemm", [symmetric(b, b.x([4, 16])), b.weight([16, 8]), bias]);
        }),
      () => single({ shape: [4, 16], out: "f32" }, "com.microsoft:QuickGelu", () => [], { alpha: 1 }),
      () =>
        mini(
          21,
          (b) => b.node("MatMulInteger", [b.x([4, 16], "u8"), b.int("i8", [16, 8], (i) => i % 5)]),
          "i32",
        ),
    ],
  },
  "TRT-2": {
    target: "tensorrt",
    accept: () => mini(21, (b) => b.node("MatMul", [b.x([4, 32]), b.blocks([32, 8], 0)])),
    reject: [
      () => mini(21, (b) => b.node("MatMul", [b.x([2, 4, 2]), b.blocks([32, 2, 8], 0)])),
      () => mini(21, (b) => b.node("MatMul", [b.x([4, 32]), b.blocks([32, 7], 0)])),
      () =>
        mini(23, (b) =>
          b.node("MatMul", [
            b.x([4, 32]),
            b.node("DequantizeLinear", [b.raw("f4e2m1", [32, 8], 0x22), b.floats([1, 8], () => 1)], {
              axis: 0,
              block_size: 32,
            }),
          ]),
        ),
    ],
  },
  "TRT-3": {
    target: "tensorrt",
    accept: () => attention(4),
    reject: [
      () => attention(3),
      () => attention(4, { mask: [8, 8] }),
      () => attention(4, { precision: true }),
      () => resize({ ...plain, mode: "cubic" }),
      () => single({ opset: 25, shape: [4] }, "Relu", () => []),
    ],
  },
  "TRT-4": {
    target: "tensorrt",
    accept: () =>
      mini(21, (b) => b.node("Relu", [b.node("MatMul", [symmetric(b, b.x([4, 16])), b.weight([16, 8])])])),
    reject: [
      () => mini(21, (b) => symmetric(b, b.node("MatMul", [b.x([4, 16]), b.floats([16, 8])]))),
      () =>
        mini(21, (b) => {
          const x = b.x([4, 16]);
          return b.node("Add", [
            b.node("MatMul", [symmetric(b, x), b.weight([16, 16])]),
            b.node("Relu", [x]),
          ]);
        }),
      () =>
        mini(21, (b) => {
          const w = b.node("DequantizeLinear", [b.raw("f8e4m3fn", [8, 8], 0x38), b.floats([], () => 1)]);
          const h = b.node("MatMul", [symmetric(b, b.x([4, 16])), b.weight([16, 8])]);
          return b.node("MatMul", [h, w]);
        }),
    ],
  },
  "TRT-5": {
    target: "tensorrt-rtx",
    accept: () =>
      mini(21, (b) =>
        b.node("MatMul", [
          b.x([4, 8]),
          b.node("DequantizeLinear", [b.raw("f8e4m3fn", [8, 8], 0x38), b.floats([], () => 1)]),
        ]),
      ),
    reject: [
      () =>
        mini(21, (b) =>
          b.node("Conv", [
            b.x([1, 8, 4, 4]),
            b.node("DequantizeLinear", [b.raw("f8e4m3fn", [8, 8, 1, 1], 0x38), b.floats([], () => 1)]),
          ]),
        ),
    ],
  },
  "TRT-6": { target: "tensorrt", accept: () => sparse(true), reject: [() => sparse(false)] },
  "TRT-7": {
    target: "tensorrt",
    accept: () => single({ shape: [1, 4, 8] }, "Squeeze", (b) => [b.longs([0])]),
    reject: [
      () => mini(21, (b) => b.node("Squeeze", [b.x([1, 4, 8]), b.input("axes", "i64", [1])])),
      () => mini(21, (b) => b.multi("LayerNormalization", [b.x([4, 8]), b.floats([8])], 2)[0]!),
    ],
  },
  "WGPU-1": {
    target: "webgpu",
    accept: () => mini(21, (b) => b.multi("Split", [b.x([32, 4])], 8, { num_outputs: 8 })[0]!),
    reject: [
      () => mini(21, (b) => b.multi("Split", [b.x([32, 4])], 16, { num_outputs: 16 })[0]!),
      () => resize({ mode: "linear", antialias: 1 }),
      () => resize({ mode: "cubic" }, [1, 1, 2, 2], "f16"),
      () =>
        single({ shape: [1, 4, 4, 8] }, "com.microsoft:NhwcConv", (b) => [b.floats([8, 1, 1, 8])], {
          kernel_shape: [1, 1],
        }),
      () =>
        single({ shape: [1, 4, 2, 3, 8] }, "com.microsoft:MultiHeadAttention", () => [], { num_heads: 2 }),
    ],
  },
  "WGPU-2": {
    target: "webgpu",
    accept: () => mini(21, (b) => b.node("MatMul", [b.x([4, 16]), b.weight([16, 8])])),
    reject: [
      () => mini(21, (b) => b.pair(b.x([4, 16]))),
      () =>
        single({ shape: [1, 8, 4, 4] }, "GroupNormalization", (b) => [b.floats([8]), b.floats([8])], {
          num_groups: 4,
        }),
      () => attention(4),
      () => single({ shape: [1, 4, 8, 8] }, "SpaceToDepth", () => [], { blocksize: 2 }),
      () =>
        single({ shape: [4, 16] }, "com.microsoft:DynamicQuantizeMatMul", (b) => [
          b.int("i8", [16, 8], (i) => i % 7),
          b.floats([8]),
        ]),
    ],
  },
  "WGPU-3": {
    target: "webgpu",
    accept: () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 16 })),
    reject: [
      () => mini(21, (b) => b.nbits(b.x([4, 64]), { k: 64, n: 16 })),
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 8 })),
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 16, block: 128 })),
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 16, bits: 2, zero: "u8" })),
      () => mha(12, 2, false),
    ],
  },
  "WGPU-4": {
    target: "webgpu:browser",
    accept: () => single({ shape: [4] }, "Add", (b) => [b.floats([4])]),
    reject: [
      () =>
        mini(21, (b) => {
          // Two tensors that only say how long they are: nothing of them is read.
          const big = (at: number) => ({
            dtype: "f32" as const,
            dims: [3 * 2 ** 28],
            source: { kind: "file" as const, path: "weights", offset: at, length: 3 * 2 ** 30 },
          });
          return b.node("Add", [b.node("Add", [b.x([1]), b.tensor(big(0))]), b.tensor(big(3 * 2 ** 30))]);
        }),
    ],
  },
  "MGX-1": {
    target: "migraphx",
    accept: () => mini(19, (b) => b.node("Reshape", [b.x([4, 8]), b.longs([32])])),
    reject: [
      () => single({ opset: 20, shape: [4] }, "Relu", () => []),
      () => mini(19, (b) => b.node("Reshape", [b.x([4, 8]), b.input("shape", "i64", [1])])),
      () => resize({ mode: "cubic" }),
    ],
  },
  "MGX-2": {
    target: "migraphx",
    accept: () => mini(19, (b) => b.node("Pad", [b.x([4, 8]), b.longs([1, 1, 1, 1])], { mode: "reflect" })),
    reject: [
      () => mini(19, (b) => b.node("Pad", [b.x([4, 8]), b.longs([1, 1, 1, 1])], { mode: "edge" })),
      () =>
        single({ opset: 19, shape: [1, 4, 8, 8], type: "u8" }, "MaxPool", () => [], { kernel_shape: [2, 2] }),
    ],
  },
  "FP16-1": {
    target: "webgpu",
    accept: () => half((b, q, k) => b.node("MatMul", [b.node("Mul", [q, b.raw("f16", [], 0x31)]), k])),
    reject: [
      () => half((b, q, k) => b.node("Mul", [b.node("MatMul", [q, k]), b.raw("f16", [], 0x31)])),
      () => half((b, q) => b.node("Relu", [b.node("Mul", [q, q], {}, { outputNames: ["loud"] })])),
      () =>
        mini(
          21,
          (b) =>
            b.contrib("GroupNorm", [b.x([1, 4, 4, 8], "f16"), b.raw("f16", [8], 0), b.raw("f16", [8], 0)], {
              groups: 4,
              activation: 0,
            }),
          "f16",
        ),
    ],
    ranges: new Map([["loud", 40000]]),
  },
};

/** A graph in half precision with a query and a transposed key. */
function half(make: (b: Mini, q: ReturnType<Mini["x"]>, k: ReturnType<Mini["x"]>) => ReturnType<Mini["x"]>) {
  return mini(
    21,
    (b) => {
      const q = b.x([1, 4, 8], "f16");
      return make(b, q, b.node("Transpose", [q], { perm: [0, 2, 1] }));
    },
    "f16",
  );
}
