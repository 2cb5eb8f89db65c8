import { zipSync } from "fflate";
import type { DType } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Npz } from "./npz.ts";

const DESCRIPTIONS: Partial<Record<DType, string>> = {
  f16: "<f2",
  f32: "<f4",
  f64: "<f8",
  i8: "|i1",
  i16: "<i2",
  i32: "<i4",
  i64: "<i8",
  u8: "|u1",
  u16: "<u2",
  u32: "<u4",
  u64: "<u8",
  bool: "|b1",
};

/** Whether archives can hold such an array. */
export function storable({ dtype }: Dense): boolean {
  return DESCRIPTIONS[dtype] !== undefined;
}

/** One array in numpy's NPY format 1.0 (NEP 1): the header padded with spaces so that data starts at a multiple of 64. */
function npyBytes({ dtype, dims, bytes }: Dense): Uint8Array {
  const descr = DESCRIPTIONS[dtype];
  if (descr === undefined) throw new Error(`${dtype} is not written to archives`);
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(", ")})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  const start = Math.ceil((10 + text.length + 1) / 64) * 64;
  const out = new Uint8Array(start + bytes.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  new DataView(out.buffer).setUint16(8, start - 10, true);
  out.set(new TextEncoder().encode(`${text.padEnd(start - 11)}\n`), 10);
  out.set(bytes, start);
  return out;
}

/** An archive that `numpy.load` reads, deflated; equal arrays give equal bytes. */
export function npzBytes(arrays: Npz): Uint8Array {
  const files = Object.fromEntries([...arrays].map(([name, d]) => [`${name}.npy`, npyBytes(d)]));
  return zipSync(files, { level: 1, mtime: "1980-01-01T00:00:00" });
}
