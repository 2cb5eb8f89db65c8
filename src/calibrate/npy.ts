import { byteLength, type DType, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";

/** Longest header accepted: numpy itself refuses longer ones when reading untrusted files. */
const MAX_HEADER = 10_000;
/** Highest rank; numpy allows 64. */
const MAX_RANK = 64;

const TYPES: Readonly<Record<string, DType>> = {
  f2: "f16",
  f4: "f32",
  f8: "f64",
  i1: "i8",
  i2: "i16",
  i4: "i32",
  i8: "i64",
  u1: "u8",
  u2: "u16",
  u4: "u32",
  u8: "u64",
  b1: "bool",
};

/** Thrown by {@link parseNpy}; the archive reader adds file and entry. */
export class NpyError extends Error {}

/**
 * Parses one array in numpy's NPY format, versions 1 to 3 (NEP 1): little endian, C order. Other layouts, object arrays
 * and lengths that do not fit are refused with an {@link NpyError} that says what was found.
 */
export function parseNpy(file: Uint8Array): Dense {
  const bad = (problem: string): never => {
    throw new NpyError(problem);
  };
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (file.length < 10 || magic.some((b, i) => file[i] !== b)) bad("it does not start with the NPY magic");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const major = file[6]!;
  if (major < 1 || major > 3) bad(`NPY version ${major}, expected 1 to 3`);
  const wide = major >= 2;
  if (wide && file.length < 12) bad("it ends inside the header");
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length;
  if (length > MAX_HEADER || start > file.length) bad(`a header of ${length} bytes`);
  const header = new TextDecoder("latin1").decode(file.subarray(start - length, start));

  const descr = /'descr'\s*:\s*'([<>|=]?)([a-zA-Z]\d+)'/.exec(header) ?? bad("no simple dtype in the header");
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header) ?? bad("no fortran_order in the header");
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(header) ?? bad("no shape in the header");
  const dtype = TYPES[descr[2]!] ?? bad(`dtype ${descr[1]}${descr[2]}, expected a float, integer or bool`);
  if (descr[1] === ">") bad("big-endian data, expected little-endian");
  const dims = shape[1]!
    .split(",")
    .map((s) => s.trim())
    .filter((s) => s !== "")
    .map(Number);
  const known = dims.every((d) => Number.isSafeInteger(d)) && dims.length <= MAX_RANK;
  const count = elementCount(dims);
  if (!known || !Number.isSafeInteger(count)) bad(`shape (${shape[1]})`);
  if (order[1] === "True" && dims.filter((d) => d > 1).length > 1) {
    bad("Fortran order, expected C order (numpy.ascontiguousarray)");
  }
  const bytes = byteLength(dtype, count);
  if (file.length - start !== bytes) {
    bad(`${file.length - start} bytes of data, expected ${bytes} for ${dtype}[${dims}]`);
  }
  return { dtype, dims, bytes: file.slice(start) };
}
