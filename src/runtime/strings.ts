/**
 * String tensors as dense bytes: every element is its length as uint32 little endian followed by its bytes. ONNX has no
 * `raw_data` layout for strings; this one is ours and never leaves the process.
 */

/** Strings to dense bytes. */
export function encodeStrings(values: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(values.reduce((sum, v) => sum + 4 + v.length, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const v of values) {
    view.setUint32(at, v.length, true);
    out.set(v, at + 4);
    at += 4 + v.length;
  }
  return out;
}

/** Dense bytes back to `count` strings; views of the bytes. Inconsistent bytes are a bug of the caller. */
export function decodeStrings(bytes: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(at, true);
    if (at + 4 + length > bytes.length) throw new Error(`string ${i} ends beyond the data`);
    out.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return out;
}
