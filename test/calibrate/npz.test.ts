import { fileURLToPath } from "node:url";
import { zipSync } from "fflate";
import { describe, expect, it } from "vitest";
import { numbersOf, parseNpz, readNpz } from "../../src/calibrate/index.ts";
import { NpyError, parseNpy } from "../../src/calibrate/npy.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet/reference.npz", import.meta.url));

function npy(
  descr: string,
  shape: string,
  data: Uint8Array,
  options: { fortran?: boolean; major?: number } = {},
): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${options.fortran ? "True" : "False"}, 'shape': ${shape}, }\n`;
  const header = new TextEncoder().encode(text);
  const wide = (options.major ?? 1) >= 2;
  const out = new Uint8Array((wide ? 12 : 10) + header.length + data.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, options.major ?? 1, 0]);
  const view = new DataView(out.buffer);
  if (wide) view.setUint32(8, header.length, true);
  else view.setUint16(8, header.length, true);
  out.set(header, wide ? 12 : 10);
  out.set(data, (wide ? 12 : 10) + header.length);
  return out;
}
const f32 = (...v: number[]) => new Uint8Array(Float32Array.from(v).buffer);

describe("npy", () => {
  it("reads versions, ranks and dtypes", () => {
    expect(parseNpy(npy("<f4", "(2, 1)", f32(1, 2)))).toMatchObject({ dtype: "f32", dims: [2, 1] });
    expect(parseNpy(npy("<f4", "()", f32(5), { major: 2 })).dims).toEqual([]);
    expect(
      numbersOf(parseNpy(npy("<i8", "(2,)", new Uint8Array(BigInt64Array.from([-3n, 7n]).buffer)))),
    ).toEqual([-3, 7]);
    expect(numbersOf(parseNpy(npy("|u1", "(3,)", Uint8Array.from([1, 2, 255]))))).toEqual([1, 2, 255]);
    expect(parseNpy(npy("<f2", "(1,)", new Uint8Array(2))).dtype).toBe("f16");
    expect(parseNpy(npy("<f4", "(2, 1)", f32(1, 2), { fortran: true })).dims).toEqual([2, 1]);
    expect(parseNpy(npy("<f4", "(0, 4)", new Uint8Array(0))).dims).toEqual([0, 4]);
  });

  it.each([
    ["magic", new Uint8Array(20)],
    ["object arrays", npy("|O", "(1,)", new Uint8Array(8))],
    ["big endian", npy(">f4", "(1,)", f32(1))],
    ["complex", npy("<c8", "(1,)", new Uint8Array(8))],
    ["Fortran order", npy("<f4", "(2, 2)", f32(1, 2, 3, 4), { fortran: true })],
    ["short data", npy("<f4", "(2,)", f32(1))],
    ["long data", npy("<f4", "(1,)", f32(1, 2))],
    ["absurd shape", npy("<f4", "(99999999999999999999, 2)", f32(1))],
    ["overflowing shape", npy("<f4", "(9007199254740991, 9007199254740991)", f32(1))],
    ["future version", npy("<f4", "(1,)", f32(1), { major: 9 })],
    ["truncated header", npy("<f4", "(1,)", f32(1)).subarray(0, 20)],
  ])("refuses %s", (_, bytes) => {
    expect(() => parseNpy(bytes)).toThrow(NpyError);
  });
});

describe("npz", () => {
  it("reads stored and deflated entries and leaves others alone", () => {
    const bytes = zipSync({
      "a.npy": [npy("<f4", "(2,)", f32(1, 2)), { level: 0 }],
      "b.npy": [npy("<f4", "(1,)", f32(3)), { level: 9 }],
      "readme.txt": new Uint8Array(3),
    });
    const arrays = parseNpz(bytes, "x.npz");
    expect([...arrays.keys()]).toEqual(["a", "b"]);
    expect(numbersOf(arrays.get("b")!)).toEqual([3]);
  });

  it("names file and entry of a bad array", () => {
    const bytes = zipSync({ "bad.npy": Uint8Array.from([1, 2, 3]) });
    expect(() => parseNpz(bytes, "x.npz")).toThrow(
      expect.objectContaining({
        diagnostic: expect.objectContaining({
          code: "NPZ_INVALID",
          details: expect.objectContaining({ file: "x.npz", entry: "bad.npy" }),
        }),
      }),
    );
  });

  it("refuses what is no archive, a missing file and a bomb", async () => {
    expect(() => parseNpz(new Uint8Array(100), "x")).toThrow(
      expect.objectContaining({ code: "NPZ_INVALID" }),
    );
    await expect(readNpz("/nonexistent.npz")).rejects.toMatchObject({ code: "PIPELINE_FILE_MISSING" });
    const bomb = zipSync({ "a.npy": new Uint8Array(16) });
    const view = new DataView(bomb.buffer);
    // The declared unpacked size, in the central directory (offset 24 of its entry).
    const central = bomb.length - 22 - (46 + 5);
    expect(view.getUint32(central, true)).toBe(0x02014b50);
    view.setUint32(central + 24, 0x7fffffff, true);
    expect(() => parseNpz(bomb, "x")).toThrow(expect.objectContaining({ code: "NPZ_TOO_LARGE" }));
  });

  it("reads the reference of the fixture", async () => {
    const arrays = await readNpz(FIXTURE);
    expect(arrays.size).toBe(20);
    expect(arrays.get("0.sample")).toMatchObject({ dtype: "f32", dims: [2, 3, 16, 16] });
    expect(numbersOf(arrays.get("0.timestep")!)).toEqual([999]);
  });
});
