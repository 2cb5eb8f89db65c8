import type { MiniRule } from "./lab.ts";
import { type Mini, mini, single, plain, resize } from "./graphs.ts";

/** A weight with one scale per entry of an axis. */
function perAxis(b: Mini, dims: readonly number[], axis: number, type: "i8" | "u16" = "i8") {
  const scales = b.floats([dims[axis]!], (i) => 0.01 * (i + 1));
  return b.node("DequantizeLinear", [b.int(type, dims, (i) => i % 50), scales], { axis });
}

/** What a Concat joins, quantized on the given scales or left in float, and quantized again. */
const joined = (scales: readonly (number | null)[], out: number) =>
  mini(21, (b) => {
    const sample = b.x([1, 4, 4, 4]);
    const parts = scales.map((scale) => {
      const x = b.node("Add", [sample, b.floats([])]);
      return scale === null ? x : b.pair(x, { scale });
    });
    return b.pair(b.node("Concat", parts, { axis: 1 }), { scale: out });
  });

/** Halves of a quantized tensor, each quantized on a scale of its own. */
const halved = (first: number, second: number) =>
  mini(21, (b) => {
    const parts = b.multi("Split", [b.pair(b.x([1, 4, 4, 4]))], 2, { axis: 1, num_outputs: 2 });
    const [a, c] = [first, second].map((scale, i) => b.pair(parts[i]!, { scale }));
    return b.node("Add", [a!, c!]);
  });

/** Rules of NPU runtimes, none of them at hand, by target. */
export const npus: Readonly<Record<string, MiniRule>> = {
  "GEN-5, a Concat": {
    target: "qnn-htp",
    accept: () => joined([0.02, 0.02], 0.02),
    reject: [
      () => joined([0.02, 0.05], 0.02),
      () => joined([0.02, 0.02], 0.05),
      () => joined([0.02, null], 0.02),
    ],
  },
  "GEN-5, a Split": {
    target: "openvino",
    accept: () => halved(0.02, 0.02),
    reject: [() => halved(0.02, 0.05), () => halved(0.05, 0.02)],
  },
  "GEN-5, a Resize": {
    target: "openvino",
    // Interpolation makes new numbers: its result may have a grid of its own.
    accept: () =>
      mini(21, (b) => {
        const scales = b.floats([4], (i) => (i < 2 ? 1 : 2));
        return b.pair(b.node("Resize", [b.pair(b.x([1, 4, 4, 4])), null, scales], { mode: "linear" }), {
          scale: 0.01,
        });
      }),
    reject: [
      () =>
        mini(21, (b) => {
          const scales = b.floats([4], (i) => (i < 2 ? 1 : 2));
          return b.pair(b.node("Resize", [b.pair(b.x([1, 4, 4, 4])), null, scales], plain), { scale: 0.01 });
        }),
    ],
  },
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
