import type { MiniRule } from "./lab.ts";
import { type Mini, mini, single, plain, resize } from "./graphs.ts";

/** A weight with one scale per entry of an axis. */
function perAxis(b: Mini, dims: readonly number[], axis: number, type: "i8" | "u16" = "i8") {
  const scales = b.floats([dims[axis]!], (i) => 0.01 * (i + 1));
  return b.node("DequantizeLinear", [b.int(type, dims, (i) => i % 50), scales], { axis });
}

/** Rules of NPU runtimes, none of them at hand, by target. */
export const npus: Readonly<Record<string, MiniRule>> = {
  "QNN-1": {
    target: "qnn-htp",
    accept: () => resize(plain),
    reject: [
      () => resize({ mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "ceil" }),
      () => resize({ ...plain }, [1, 2, 2, 2]),
      () => resize({ mode: "linear", antialias: 1 }),
      () =>
        single({ shape: [1, 4, 2, 4, 4] }, "InstanceNormalization", (b) => [b.floats([4]), b.floats([4])]),
      () => single({ shape: [4, 8] }, "Gemm", (b) => [b.floats([8, 4])], { alpha: 0.5 }),
    ],
  },
  "QNN-2": {
    target: "qnn-htp",
    accept: () => mini(21, (b) => b.node("Conv", [b.pair(b.x([1, 8, 4, 4])), perAxis(b, [4, 8, 1, 1], 0)])),
    reject: [
      () => mini(21, (b) => b.node("Conv", [b.pair(b.x([1, 8, 4, 4])), perAxis(b, [4, 8, 1, 1], 1)])),
      () =>
        mini(21, (b) => b.node("ConvTranspose", [b.pair(b.x([1, 8, 4, 4])), perAxis(b, [8, 4, 1, 1], 0)])),
      () => mini(21, (b) => b.node("Conv", [b.pair(b.x([1, 8, 4, 4])), perAxis(b, [4, 8, 1, 1], 0, "u16")])),
      () => mini(21, (b) => b.nbits(b.x([4, 64]), { k: 64, n: 16 })),
    ],
  },
  "QNN-3": {
    target: "qnn-htp",
    accept: () =>
      mini(21, (b) =>
        b.node("MatMul", [b.pair(b.x([4, 16]), { type: "u16", zero: 100 }), b.pair(b.floats([16, 8]))]),
      ),
    reject: [
      () =>
        mini(21, (b) =>
          b.node("MatMul", [
            b.pair(b.x([4, 16]), { type: "u16", zero: 100 }),
            b.pair(b.node("Transpose", [b.floats([8, 16])]), { type: "u16", zero: 100 }),
          ]),
        ),
      () => mini(20, (b) => b.pair(b.x([4, 16]), { type: "u16", zero: 100 })),
    ],
  },
  "QNN-4": {
    target: "qnn-htp",
    accept: () =>
      mini(21, (b) =>
        b.pair(b.node("Sigmoid", [b.pair(b.x([4]), { type: "u16" })]), {
          type: "u16",
          scale: 1 / 65536,
          zero: 0,
        }),
      ),
    reject: [
      () =>
        mini(21, (b) =>
          b.pair(b.node("Sigmoid", [b.pair(b.x([4]), { type: "u16" })]), {
            type: "u16",
            scale: 1 / 60000,
            zero: 0,
          }),
        ),
      () => mini(21, (b) => b.node("MatMul", [b.x([4, 32]), b.blocks([32, 8], 0)])),
    ],
  },
  "QNN-5": {
    target: "qnn-htp:v69",
    accept: () => mini(21, (b) => b.pair(b.node("Sigmoid", [b.pair(b.x([4]))]))),
    reject: [
      () => single({ shape: [1, 4, 8] }, "Relu", () => []),
      () => single({ shape: [1, 4, 8] }, "LayerNormalization", (b) => [b.floats([4, 8])], { axis: 1 }),
      () => mini(21, (b) => b.node("Einsum", [b.x([4, 8])], { equation: "ij->ji" })),
    ],
  },
  "OV-1": {
    target: "openvino",
    accept: () => resize(plain),
    reject: [
      () => resize({ mode: "linear", coordinate_transformation_mode: "tf_crop_and_resize" }),
      () => resize({ mode: "linear", antialias: 1 }),
      () => single({ shape: [1, 0, 4] }, "Relu", () => []),
    ],
  },
  "VAI-1": {
    target: "vitisai:xint8",
    accept: () => mini(17, (b) => b.pair(b.x([4]), { type: "i8", scale: 1 / 64 })),
    reject: [
      () => mini(17, (b) => b.pair(b.x([4]), { type: "i8", scale: 0.02 })),
      () => mini(17, (b) => b.pair(b.x([4]), { type: "u8", scale: 1 / 64, zero: 128 })),
      () => single({ opset: 17, shape: [4] }, "Sigmoid", () => []),
    ],
  },
  "CML-1": {
    target: "coreml",
    accept: () => resize(plain),
    reject: [
      () => resize({ ...plain, nearest_mode: "ceil" }),
      () => resize({ ...plain }, [1, 1, 1.5, 1.5]),
      () => single({ shape: [4] }, "Sin", () => []),
      () => mini(21, (b) => b.pair(b.x([4]))),
      () => single({ shape: [1, 1, 20000] }, "Conv", (b) => [b.floats([1, 1, 3])]),
    ],
  },
};
