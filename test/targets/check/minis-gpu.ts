import type { MiniRule } from "./lab.ts";
import { mha, mini, single } from "./graphs.ts";

/** MultiHeadAttention of 2 heads that reads one packed tensor, behind queries so wide where it holds keys and values. */
const packed = (shape: number[], queries: number | null, extra: { bias?: boolean; past?: boolean } = {}) =>
  mini(21, (b) => {
    const x = queries === null ? b.x(shape) : b.x([1, 4, queries]);
    const inputs = queries === null ? [x, null] : [x, b.floats(shape)];
    const past = extra.past ? [b.floats([1, 2, 4, 8]), b.floats([1, 2, 4, 8])] : [null, null];
    return b.contrib(
      "MultiHeadAttention",
      [...inputs, null, extra.bias ? b.floats([48]) : null, null, null, ...past],
      { num_heads: 2 },
    );
  });

/** Rules of providers with hand-written GPU kernels, and of what MIGraphX reads otherwise. */
export const gpus: Readonly<Record<string, MiniRule>> = {
  "CUDA-1": {
    target: "cuda",
    accept: () => mini(21, (b) => b.node("MatMul", [b.x([4, 16]), b.weight([16, 8])])),
    reject: [
      () => mini(21, (b) => b.node("MatMul", [b.pair(b.x([4, 16])), b.weight([16, 8])])),
      () =>
        single({ shape: [1, 8, 4, 4] }, "GroupNormalization", (b) => [b.floats([8]), b.floats([8])], {
          num_groups: 4,
        }),
    ],
  },
  "CUDA-2": {
    target: "cuda",
    accept: () =>
      single({ shape: [1, 4, 4, 8] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
        groups: 4,
        activation: 1,
      }),
    reject: [
      () =>
        single({ shape: [1, 8, 4, 4] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
          groups: 4,
          activation: 1,
          channels_last: 0,
        }),
      () =>
        single({ shape: [1, 4, 4, 8] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
          groups: 8,
          activation: 0,
        }),
      () =>
        single(
          { shape: [1, 4, 4, 8], type: "f16" },
          "com.microsoft:GroupNorm",
          (b) => [b.raw("f16", [8], 0), b.raw("f16", [8], 0)],
          {
            groups: 4,
            activation: 0,
          },
        ),
      () =>
        single(
          { shape: [1, 4, 4, 1028] },
          "com.microsoft:GroupNorm",
          (b) => [b.floats([1028]), b.floats([1028])],
          { groups: 2, activation: 0 },
        ),
      () =>
        single({ shape: [1, 4, 8] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
          groups: 4,
          activation: 0,
        }),
      () => single({ shape: [1, 4, 640] }, "com.microsoft:BiasSplitGelu", (b) => [b.floats([640])]),
      () => single({ shape: [4, 2560] }, "com.microsoft:BiasSplitGelu", (b) => [b.floats([2560])]),
    ],
  },
  "CUDA-2, GEGLU": {
    target: "cuda",
    accept: () => single({ shape: [1, 4, 2560] }, "com.microsoft:BiasSplitGelu", (b) => [b.floats([2560])]),
    reject: [() => single({ shape: [1, 4, 2562] }, "com.microsoft:BiasSplitGelu", (b) => [b.floats([2562])])],
  },
  "CUDA-2, parameters per group": {
    target: "migraphx",
    accept: () =>
      single({ shape: [1, 8, 4, 4] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
        groups: 8,
        activation: 0,
        channels_last: 0,
      }),
    reject: [
      () =>
        single({ shape: [1, 4, 4, 8] }, "com.microsoft:GroupNorm", (b) => [b.floats([8]), b.floats([8])], {
          groups: 4,
          activation: 1,
        }),
    ],
  },
  "CUDA-3": {
    target: "cuda",
    accept: () => mha(64, 2, false),
    reject: [() => mha(40, 2, false), () => mha(64, 2, true), () => mha(1024, 2, false)],
  },
  "CUDA-4": {
    target: "cuda",
    accept: () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 64, block: 64 })),
    reject: [
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 64, block: 32 })),
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 32, block: 64 })),
      () => mini(21, (b) => b.nbits(b.x([4, 96]), { k: 96, n: 64, block: 64 })),
      () => mini(21, (b) => b.nbits(b.x([4, 128]), { k: 128, n: 64, block: 64, bias: true })),
    ],
  },
  "CUDA-5": {
    target: "cuda",
    accept: () => packed([1, 4, 2, 3, 8], null),
    reject: [
      () => packed([1, 4, 3, 2, 8], null),
      () => packed([1, 4, 2, 3, 8, 1], null),
      () => packed([1, 4, 2, 3, 8], null, { past: true }),
    ],
  },
  "CUDA-5, keys and values": {
    target: "directml",
    accept: () => packed([1, 4, 2, 2, 8], 16),
    reject: [
      () => packed([1, 4, 2, 3, 8], 16),
      () => packed([1, 4, 2, 2, 8], 24),
      () => packed([1, 4, 2, 2, 8], 16, { bias: true }),
    ],
  },
  "DML-1": {
    target: "directml",
    accept: () => mini(20, (b) => b.node("Reshape", [b.x([4, 8]), b.longs([32])])),
    reject: [
      () => mini(21, (b) => b.node("Reshape", [b.x([4, 8]), b.longs([32])])),
      () => mini(20, (b) => b.node("Resize", [b.x([1, 4, 8, 8]), null, b.input("scales", "f32", [4])])),
      () => mini(20, (b) => b.nbits(b.x([4, 48]), { k: 48, n: 8, block: 32 })),
      () => mini(20, (b) => b.nbits(b.x([4, 64]), { k: 64, n: 8, block: 32, bias: true })),
    ],
  },
};
