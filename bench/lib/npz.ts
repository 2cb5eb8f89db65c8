import { unzipSync } from "fflate";

/** One array of an npz file. */
export interface NpyArray {
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** Reads the float32 and int64 arrays of an npz archive (NumPy format 1.0 and 2.0). */
export function readNpz(bytes: Uint8Array): Map<string, NpyArray> {
  const found = new Map<string, NpyArray>();
  for (const [file, npy] of Object.entries(unzipSync(bytes))) {
    const view = new DataView(npy.buffer, npy.byteOffset, npy.byteLength);
    const long = npy[6]! >= 2;
    const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
    const start = (long ? 12 : 10) + length;
    const header = new TextDecoder().decode(npy.subarray(long ? 12 : 10, start));
    const dtype = /'descr':\s*'([^']+)'/.exec(header)?.[1];
    const dims = (/'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "")
      .split(",")
      .map((s) => s.trim())
      .filter((s) => s !== "")
      .map(Number);
    const body = npy.slice(start).buffer;
    if (dtype === "<f4") found.set(file.replace(/\.npy$/, ""), { dims, data: new Float32Array(body) });
    else if (dtype === "<i8") found.set(file.replace(/\.npy$/, ""), { dims, data: new BigInt64Array(body) });
    else throw new Error(`${file} holds ${dtype}`);
  }
  return found;
}
