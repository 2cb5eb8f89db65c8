import { Tinypool } from "tinypool";
import type { Code } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Derivation, Tensor } from "../ir/tensor.ts";

/** What a worker sends back. */
export type WorkerReply =
  | { readonly ok: true; readonly outputs: readonly Dense[] }
  | { readonly ok: false; readonly code: Code; readonly details: unknown };

/** Bytes that own their buffer, so that sending them neither copies nor takes anything else along. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length
    ? (bytes as Uint8Array<ArrayBuffer>)
    : new Uint8Array(bytes);
}

/** Wraps a reply so that the pool moves the output buffers instead of copying them. */
export function moved(reply: Extract<WorkerReply, { ok: true }>): unknown {
  const outputs = reply.outputs.map((o) => ({ ...o, bytes: owned(o.bytes) }));
  return Tinypool.move({
    [Tinypool.transferableSymbol]: [...new Set(outputs.map((o) => o.bytes.buffer))],
    [Tinypool.valueSymbol]: { ok: true, outputs } satisfies WorkerReply,
  } as unknown as Parameters<typeof Tinypool.move>[0]);
}

/**
 * A derivation that can be sent: inline bytes are copied once into buffers of their own, which are then moved (cloning
 * a view would clone the whole file it may be a part of). Shared parts stay shared.
 */
export function packDerivation(d: Derivation): {
  readonly task: Derivation;
  readonly transfer: ArrayBuffer[];
} {
  const transfer: ArrayBuffer[] = [];
  const done = new Map<Derivation, Derivation>();
  const copies = new Map<Uint8Array, Uint8Array>();

  function tensor(t: Tensor): Tensor {
    const s = t.source;
    if (s.kind === "derived") return { ...t, source: { ...s, derivation: pack(s.derivation) } };
    if (s.kind !== "inline") return t;
    let bytes = copies.get(s.bytes);
    if (bytes === undefined) {
      const copy = new Uint8Array(s.bytes);
      transfer.push(copy.buffer);
      copies.set(s.bytes, copy);
      bytes = copy;
    }
    return { ...t, source: { kind: "inline", bytes } };
  }

  function pack(x: Derivation): Derivation {
    let p = done.get(x);
    if (p === undefined) {
      p = { ...x, inputs: x.inputs.map(tensor) };
      done.set(x, p);
    }
    return p;
  }

  return { task: pack(d), transfer };
}
