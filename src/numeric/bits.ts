/**
 * Sub-byte packing of ONNX `raw_data`: dense over the whole tensor, first element in the lowest bits, last byte padded
 * with zeros (ONNX IR, "int4 and uint4").
 */

/** Packs the low bits of each element. `values` may hold signed or unsigned numbers. */
export function packBits(values: Int8Array | Uint8Array, bits: 2 | 4): Uint8Array {
  const n = values.length;
  const out = new Uint8Array(Math.ceil((n * bits) / 8));
  if (bits === 4) {
    const pairs = n >> 1;
    for (let i = 0; i < pairs; i++) out[i] = (values[2 * i]! & 15) | ((values[2 * i + 1]! & 15) << 4);
    if (n & 1) out[pairs] = values[n - 1]! & 15;
    return out;
  }
  for (let i = 0; i < n; i++) out[i >> 2]! |= (values[i]! & 3) << ((i & 3) * 2);
  return out;
}

/** Unpacks `count` unsigned elements. */
export function unpackBits(packed: Uint8Array, bits: 2 | 4, count: number): Uint8Array {
  const out = new Uint8Array(count);
  if (bits === 4) for (let i = 0; i < count; i++) out[i] = (packed[i >> 1]! >> ((i & 1) * 4)) & 15;
  else for (let i = 0; i < count; i++) out[i] = (packed[i >> 2]! >> ((i & 3) * 2)) & 3;
  return out;
}

/** Unpacks `count` signed (two's complement) elements. */
export function unpackSignedBits(packed: Uint8Array, bits: 2 | 4, count: number): Int8Array {
  const out = new Int8Array(unpackBits(packed, bits, count).buffer);
  const up = 32 - bits;
  for (let i = 0; i < count; i++) out[i] = (out[i]! << up) >> up;
  return out;
}
