import { createHash } from "node:crypto";
import type { Derivation, Json, Tensor } from "../ir/tensor.ts";
import { type FileRange, fileVersion, hashRange } from "./ranges.ts";
import { encodeStrings } from "./strings.ts";

/** Hashes of tensors and derivations. Results are remembered as long as the objects live. */
export interface Hasher {
  /** sha256 (hex) of the bytes of a tensor that is not derived. */
  leaf(t: Tensor): Promise<string>;
  /**
   * Key of a derivation: sha256 over kernel, version, parameters, output types and the contents of everything it
   * stands on. Equal keys mean equal bytes, in this run and in any other.
   */
  derivation(d: Derivation): Promise<string>;
}

/** JSON with sorted keys: equal values are equal texts. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map((v: Json) => canonicalJson(v)).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value as { readonly [key: string]: Json });
    const sorted = entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${sorted.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(",")}}`;
  }
  return Object.is(value, -0) ? "-0" : JSON.stringify(value);
}

/** sha256 in hex. */
export function sha256(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A hasher. File ranges are hashed once per version of the file. */
export function createHasher(): Hasher {
  const inline = new WeakMap<Uint8Array, string>();
  const files = new Map<string, Promise<string>>();
  const derived = new WeakMap<Derivation, Promise<string>>();

  async function file(range: FileRange): Promise<string> {
    const key = `${range.path}\0${range.offset}\0${range.length}\0${await fileVersion(range)}`;
    let hash = files.get(key);
    if (hash === undefined) {
      hash = hashRange(range);
      files.set(key, hash);
    }
    return await hash;
  }

  async function leaf(t: Tensor): Promise<string> {
    const s = t.source;
    if (s.kind === "file") return await file(s);
    if (s.kind === "strings") return sha256(encodeStrings(s.values));
    if (s.kind === "derived") throw new Error("a derived tensor is not a leaf");
    let hash = inline.get(s.bytes);
    if (hash === undefined) {
      hash = sha256(s.bytes);
      inline.set(s.bytes, hash);
    }
    return hash;
  }

  async function key(d: Derivation): Promise<string> {
    const inputs: Json[] = [];
    for (const t of d.inputs) {
      const from =
        t.source.kind === "derived"
          ? [await derivation(t.source.derivation), t.source.output]
          : [await leaf(t)];
      inputs.push([t.dtype, t.dims, ...from]);
    }
    const outputs = d.outputs.map((o): Json => [o.dtype, o.dims]);
    return sha256(canonicalJson([d.kernel, d.version, d.params, inputs, outputs]));
  }

  function derivation(d: Derivation): Promise<string> {
    let hash = derived.get(d);
    if (hash === undefined) {
      hash = key(d);
      derived.set(d, hash);
    }
    return hash;
  }

  return { leaf, derivation };
}
