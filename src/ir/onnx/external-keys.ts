import type { Model } from "../graph.ts";
import type { ValueMeta } from "./meta.ts";

/** Wire tag of a length-delimited field. */
const DELIMITED = 2;

/** Key of one external_data entry as the reader kept it: an entry message with its own tag in front. */
function keyOf(bytes: Uint8Array): string {
  let at = 0;
  const varint = (): number => {
    let [value, shift] = [0, 0];
    for (; at < bytes.length; shift += 7) {
      const b = bytes[at++]!;
      value |= (b & 127) << shift;
      if (b < 128) break;
    }
    return value;
  };
  varint();
  varint();
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) !== DELIMITED) break;
    const length = varint();
    if (tag >> 3 === 1) return new TextDecoder().decode(bytes.subarray(at, at + length));
    at += length;
  }
  return "";
}

/** Keys of external data by tensor, besides location, offset and length, of a model as it was read. */
export function externalKeys(model: Model): ReadonlyMap<string, readonly string[]> {
  const out = new Map<string, readonly string[]>();
  for (const v of model.graph.values()) {
    const entries = (v.meta as ValueMeta | undefined)?.tensor?.entries ?? [];
    const keys = entries.flatMap((e) => (e.kind === "inline" ? [keyOf(e.bytes)] : []));
    if (keys.length > 0) out.set(v.name, keys);
  }
  return out;
}
