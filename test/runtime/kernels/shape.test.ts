import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteLength, DTYPES, type DType, elementCount } from "../../../src/ir/dtype.ts";
import { f32Tensor, inlineTensor, type Tensor } from "../../../src/ir/tensor.ts";
import { affineTensor } from "../../../src/runtime/kernels/affine.ts";
import { castTensor, castTensorWithReport } from "../../../src/runtime/kernels/cast.ts";
import { concatTensors } from "../../../src/runtime/kernels/concat.ts";
import { KERNELS } from "../../../src/runtime/kernels/index.ts";
import { permuteElements } from "../../../src/runtime/kernels/permute.ts";
import { reshapeTensor } from "../../../src/runtime/kernels/reshape.ts";
import { sliceTensor } from "../../../src/runtime/kernels/slice.ts";
import { transposeTensor } from "../../../src/runtime/kernels/transpose.ts";
import { denseOf, numbersOf } from "./evaluate.ts";

const MOVABLE: readonly DType[] = ["f32", "u8", "f16", "i64", "c128", "i4", "u2", "bool"];

function counting(dtype: DType, dims: readonly number[]): Tensor {
  const bytes = new Uint8Array(byteLength(dtype, elementCount(dims)));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 37 + 11) & 0xff;
  const rest = (elementCount(dims) * DTYPES[dtype].bits) % 8;
  if (rest > 0) bytes[bytes.length - 1]! &= (1 << rest) - 1;
  return inlineTensor(dtype, dims, bytes);
}

/** Element i as a bit string: enough to follow elements of any width. */
function elementBits(bytes: Uint8Array, bits: number, i: number): string {
  if (bits < 8) return String((bytes[(i * bits) >> 3]! >> ((i * bits) & 7)) & ((1 << bits) - 1));
  return Buffer.from(bytes.subarray((i * bits) / 8, ((i + 1) * bits) / 8)).toString("hex");
}

const dimsAndPerm = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 0, maxLength: 5 }).chain((dims) =>
  fc.tuple(
    fc.constant(dims),
    fc.shuffledSubarray(
      dims.map((_, i) => i),
      { minLength: dims.length },
    ),
  ),
);

describe("transpose", () => {
  test("every element lands where ONNX Transpose puts it", async () => {
    await fc.assert(
      fc.asyncProperty(dimsAndPerm, fc.constantFrom(...MOVABLE), async ([dims, perm], dtype) => {
        const t = counting(dtype, dims);
        const source = (await denseOf(t)).bytes;
        const out = await denseOf(transposeTensor(t, perm));
        expect(out.dims).toEqual(perm.map((p) => dims[p]));
        const { bits } = DTYPES[dtype];
        const index = new Array<number>(dims.length).fill(0);
        for (let o = 0; o < elementCount(dims); o++) {
          let rest = o;
          for (let a = dims.length - 1; a >= 0; a--) {
            index[perm[a]!] = rest % out.dims[a]!;
            rest = Math.floor(rest / out.dims[a]!);
          }
          const from = index.reduce((sum, x, a) => sum * dims[a]! + x, 0);
          expect(elementBits(out.bytes, bits, o)).toBe(elementBits(source, bits, from));
        }
      }),
      { numRuns: 200 },
    );
  });

  test("tiles larger than one block", () => {
    const n = 70;
    const m = 45;
    const x = Float32Array.from({ length: n * m }, (_, i) => i);
    const y = new Float32Array(permuteElements(new Uint8Array(x.buffer), 4, [n, m], [1, 0]).buffer);
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) expect(y[j * n + i]).toBe(x[i * m + j]);
  });

  test("permutations of permutations are merged and identities vanish", () => {
    const t = counting("f32", [2, 3, 4]);
    expect(transposeTensor(t, [0, 1, 2])).toBe(t);
    expect(transposeTensor(transposeTensor(t, [2, 0, 1]), [1, 2, 0])).toBe(t);
    const twice = transposeTensor(transposeTensor(t, [1, 0, 2]), [0, 2, 1]);
    expect(twice.source).toMatchObject({ derivation: { inputs: [t], params: { perm: [1, 2, 0] } } });
    expect(() => transposeTensor(t, [0, 1, 1])).toThrow("permutation");
  });

  test("a reshape in between keeps them apart", async () => {
    const t = f32Tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const other = transposeTensor(reshapeTensor(transposeTensor(t), [2, 3]));
    expect(await numbersOf(other)).toEqual([1, 5, 4, 3, 2, 6]);
  });
});

describe("cast", () => {
  const x = f32Tensor([0, -0.5, 1.5, 2.5, 300, -300, 1e6, Number.NaN, 1e-9]);

  test("floats to integers truncate, saturate, and NaN is 0", async () => {
    expect(await numbersOf(castTensor(x, "i8"))).toEqual([0, 0, 1, 2, 127, -128, 127, 0, 0]);
    expect(await numbersOf(castTensor(x, "u8"))).toEqual([0, 0, 1, 2, 255, 0, 255, 0, 0]);
    expect(await numbersOf(castTensor(x, "i64"))).toEqual([0, 0, 1, 2, 300, -300, 1e6, 0, 0]);
    expect(await numbersOf(castTensor(f32Tensor([1e30, -1e30]), "i64"))).toEqual([2 ** 63, -(2 ** 63)]);
    expect(await numbersOf(castTensor(x, "i4"))).toEqual([0, 0, 1, 2, 7, -8, 7, 0, 0]);
    expect(await numbersOf(castTensor(x, "bool"))).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });

  test("integers wrap", async () => {
    const i = castTensor(f32Tensor([-1, 255, 256, -129]), "i32");
    expect(await numbersOf(castTensor(i, "u8"))).toEqual([255, 255, 0, 127]);
    expect(await numbersOf(castTensor(i, "i4"))).toEqual([-1, -1, 0, -1]);
    expect(await numbersOf(castTensor(castTensor(i, "i64"), "u16"))).toEqual([65535, 255, 256, 65407]);
  });

  test("overflow to infinity or to the largest value", async () => {
    const big = f32Tensor([1e6, -1e6, 65519]);
    expect(await numbersOf(castTensor(big, "f16"))).toEqual([Infinity, -Infinity, 65504]);
    expect(await numbersOf(castTensor(big, "f16", { overflow: "saturate" }))).toEqual([65504, -65504, 65504]);
    expect(await numbersOf(castTensor(big, "f8e5m2"))).toEqual([Infinity, -Infinity, Infinity]);
    expect(await numbersOf(castTensor(big, "f8e5m2", { overflow: "saturate" }))).toEqual([
      57344, -57344, 57344,
    ]);
  });

  test("a report counts what was lost", async () => {
    const { data, report } = castTensorWithReport(f32Tensor([1e6, 1e-9, 1, Number.NaN, 0, 65504]), "f16");
    expect(await numbersOf(report)).toEqual([1, 1, 1, 1e6]);
    expect(data.source).toMatchObject({
      derivation: report.source.kind === "derived" && report.source.derivation,
    });
    const saturated = castTensorWithReport(f32Tensor([1e6, 5]), "f16", { overflow: "saturate" });
    expect(await numbersOf(saturated.report)).toEqual([1, 0, 0, 1e6]);
  });

  test("what an exact widening made is undone for free; rounding is not", () => {
    const half = counting("f16", [4]);
    expect(castTensor(half, "f16")).toBe(half);
    expect(castTensor(castTensor(half, "f32"), "f16")).toEqual(half);
    const wide = counting("f32", [4]);
    expect(castTensor(castTensor(wide, "f16"), "f32").source.kind).toBe("derived");
    const integer = counting("i32", [4]);
    expect(castTensor(castTensor(integer, "f32"), "i32").source.kind).toBe("derived");
  });
});

describe("slice and concat", () => {
  test("slices put together give the tensor", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.nat(),
        fc.constantFrom(...MOVABLE),
        async (dims, a, c, dtype) => {
          const axis = a % dims.length;
          const cut = c % (dims[axis]! + 1);
          const t = counting(dtype, dims);
          const left = sliceTensor(t, { axis, start: 0, end: cut });
          const right = sliceTensor(t, { axis, start: cut, end: dims[axis]! });
          expect(left.dims[axis]! + right.dims[axis]!).toBe(dims[axis]);
          expect(await denseOf(concatTensors([left, right], axis))).toEqual(await denseOf(t));
        },
      ),
    );
  });

  test("a slice takes the right indices", async () => {
    const t = f32Tensor([0, 1, 2, 3, 4, 5], [2, 3]);
    expect(await numbersOf(sliceTensor(t, { axis: 1, start: 1, end: 3 }))).toEqual([1, 2, 4, 5]);
    expect(await numbersOf(sliceTensor(t, { axis: 0, start: 1, end: 2 }))).toEqual([3, 4, 5]);
    const twice = sliceTensor(sliceTensor(t, { axis: 1, start: 1, end: 3 }), { axis: 1, start: 1, end: 2 });
    expect(twice.source).toMatchObject({ derivation: { inputs: [t] } });
    expect(await numbersOf(twice)).toEqual([2, 5]);
    expect(() => sliceTensor(t, { axis: 1, start: 2, end: 4 })).toThrow("slice");
  });

  test("a contiguous slice of a file is a range of it", () => {
    const t: Tensor = {
      dtype: "f32",
      dims: [4, 2],
      source: { kind: "file", path: "w", offset: 100, length: 32 },
    };
    expect(sliceTensor(t, { axis: 0, start: 1, end: 3 })).toEqual({
      dtype: "f32",
      dims: [2, 2],
      source: { kind: "file", path: "w", offset: 108, length: 16 },
    });
  });
});

describe("affine", () => {
  test("multiplies and adds along the axis", async () => {
    const t = f32Tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const scale = f32Tensor([10, 100]);
    const offset = f32Tensor([1, 2]);
    expect(await numbersOf(affineTensor(t, { axis: 0, scale, offset }))).toEqual([11, 21, 31, 402, 502, 602]);
    expect(await numbersOf(affineTensor(t, { axis: 0, offset }))).toEqual([2, 3, 4, 6, 7, 8]);
    expect(await numbersOf(affineTensor(t, { axis: -1, scale: f32Tensor([1, 0, -1]) }))).toEqual([
      1, 0, -3, 4, 0, -6,
    ]);
    expect(affineTensor(t, { axis: 0 })).toBe(t);
    expect(() => affineTensor(t, { axis: 1, scale })).toThrow("fit");
  });

  test("keeps the type", async () => {
    const t = castTensor(f32Tensor([1, 2]), "f16");
    const out = await denseOf(affineTensor(t, { axis: 0, scale: f32Tensor([0.5, 3]) }));
    expect(out.dtype).toBe("f16");
    expect(Buffer.from(out.bytes).toString("hex")).toBe("00380046");
  });
});

test("reshape costs nothing and refuses other sizes", () => {
  const t = transposeTensor(counting("f32", [2, 3]));
  expect(reshapeTensor(t, [6]).source).toBe(t.source);
  expect(() => reshapeTensor(t, [5])).toThrow("reshape");
});

test("kernel names are their file names' parts and versions start at 1", () => {
  for (const [name, kernel] of KERNELS) {
    expect(name).toBe(kernel.name);
    expect(kernel.version).toBeGreaterThanOrEqual(1);
  }
});
