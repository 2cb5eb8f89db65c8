import { createHash, type Hash } from "node:crypto";
import { basename, dirname } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import type { DType } from "../dtype.ts";
import type { Model } from "../graph.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../tensor.ts";
import { AtomicFiles } from "./atomic.ts";
import { type ExternalOptions, type Layout, layOut } from "./layout.ts";
import { MAX_MODEL_BYTES } from "./limits.ts";
import type { Part, TensorPart } from "./sink.ts";
import { type Payload, streamTensors } from "./stream.ts";
import { writeModelProto } from "./write-graph.ts";

/** How far a write is. */
export interface WriteProgress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface WriteOptions {
  /** Makes the bytes of derived tensors. */
  readonly reader: TensorReader;
  /** External data; `false` keeps everything in one file (MODEL_TOO_LARGE from 2 GiB on). */
  readonly external?: ExternalOptions | false;
  /** Leaves out hashes and the flush to disk, for files that live as long as the process. Default false. */
  readonly temporary?: boolean;
  readonly onProgress?: (progress: WriteProgress) => void;
}

/** What was written, for the manifest. Paths are relative to the model's folder; the model file comes first. */
export interface WrittenModel {
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly dims: readonly number[];
    readonly bytes: number;
    /** Of the `raw_data` layout; of the values with their lengths for strings. `""` when temporary. */
    readonly sha256: string;
    readonly location: "inline" | { readonly file: string; readonly offset: number };
  }[];
}

/**
 * Writes a model to `path`, with large tensors in one data file beside it. Tensors are made and written one after
 * another, so memory does not grow with the model. The files appear under their names only when both are complete;
 * after a failure nothing is left. Equal models give equal bytes. Fails with OUTPUT_UNWRITABLE, DISK_FULL,
 * MODEL_TOO_LARGE or what the reader reports.
 */
export async function writeModel(model: Model, path: string, options: WriteOptions): Promise<WrittenModel> {
  const external = options.external === false ? null : (options.external ?? {});
  const dataName = external?.file ?? `${basename(path)}.data`;
  if (basename(dataName) !== dataName) throw new Error(`data file "${dataName}" is not beside the model`);
  const layout = layOut(model, dataName, external);
  const proto = writeModelProto(model, layout.place);
  if (proto.size > MAX_MODEL_BYTES)
    fail("MODEL_TOO_LARGE", { path, bytes: proto.size, limit: MAX_MODEL_BYTES });

  const files = new AtomicFiles(dirname(path), proto.size + layout.externalBytes);
  const hashes = new Map<Tensor, string>();
  const hashed = options.temporary !== true;
  const progress = new Progress(proto.size + layout.externalBytes, options.onProgress);
  try {
    const written: { path: string; bytes: number; sha256: string }[] = [];
    if (layout.external.length > 0) {
      const out = await files.open(dataName, hashed);
      let at = 0;
      const hash = new TensorHash(hashed, hashes);
      for await (const { payload, piece, last } of streamTensors(layout.external, options.reader)) {
        if (at < payload.offset) {
          await out.write(new Uint8Array(payload.offset - at));
          at = payload.offset;
        }
        await out.write(piece);
        hash.add(payload.tensor, piece, last);
        at += piece.length;
        progress.at(at);
      }
      written.push(await out.finish(hashed));
    }
    const out = await files.open(basename(path), hashed);
    const hash = new TensorHash(hashed, hashes);
    for await (const { part, piece, last } of streamParts(proto.parts(), options.reader)) {
      await out.write(piece);
      if (part !== null) hash.add(part.tensor, piece, last);
      progress.at(layout.externalBytes + out.size);
    }
    written.unshift(await out.finish(hashed));
    await files.commit(hashed);
    return { files: written, tensors: describeTensors(layout, hashes, hashed) };
  } catch (cause) {
    await files.abort();
    throw cause;
  }
}

/** Encodes a model with everything inline, for sessions that load from memory. Fails with MODEL_TOO_LARGE at 2 GiB. */
export async function encodeModel(model: Model, reader: TensorReader): Promise<Uint8Array> {
  const proto = writeModelProto(model, () => null);
  if (proto.size > MAX_MODEL_BYTES)
    fail("MODEL_TOO_LARGE", {
      path: model.path ?? model.graph.name,
      bytes: proto.size,
      limit: MAX_MODEL_BYTES,
    });
  const out = new Uint8Array(proto.size);
  let at = 0;
  for await (const { piece } of streamParts(proto.parts(), reader)) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** Parts of a message as pieces in order; `part` is the open tensor a piece belongs to. */
async function* streamParts(
  parts: readonly Part[],
  reader: TensorReader,
): AsyncGenerator<{ readonly part: TensorPart | null; readonly piece: Uint8Array; readonly last: boolean }> {
  const open: (Payload & { part: TensorPart })[] = [];
  for (const part of parts)
    if (!(part instanceof Uint8Array)) open.push({ tensor: part.tensor, bytes: part.length, part });
  const stream = streamTensors(open, reader);
  try {
    for (const part of parts) {
      if (part instanceof Uint8Array) {
        yield { part: null, piece: part, last: true };
        continue;
      }
      if (part.length === 0) continue;
      for (;;) {
        const { value, done } = await stream.next();
        if (done === true) throw new Error("a tensor ended early");
        yield { part, piece: value.piece, last: value.last };
        if (value.last) break;
      }
    }
  } finally {
    await stream.return(undefined);
  }
}

class Progress {
  readonly #total: number;
  readonly #report: ((progress: WriteProgress) => void) | undefined;
  constructor(total: number, report: ((progress: WriteProgress) => void) | undefined) {
    this.#total = total;
    this.#report = report;
  }
  at(done: number): void {
    this.#report?.({ bytesDone: done, bytesTotal: this.#total });
  }
}

/** Hashes tensors as their pieces pass by. */
class TensorHash {
  readonly #on: boolean;
  readonly #into: Map<Tensor, string>;
  #hash: Hash | null = null;
  constructor(on: boolean, into: Map<Tensor, string>) {
    this.#on = on;
    this.#into = into;
  }
  add(tensor: Tensor, piece: Uint8Array, last: boolean): void {
    if (!this.#on) return;
    this.#hash ??= createHash("sha256");
    this.#hash.update(piece);
    if (!last) return;
    this.#into.set(tensor, this.#hash.digest("hex"));
    this.#hash = null;
  }
}

function hashAtHand(tensor: Tensor): string {
  const hash = createHash("sha256");
  if (tensor.source.kind === "inline") hash.update(tensor.source.bytes);
  else if (tensor.source.kind === "strings")
    for (const s of tensor.source.values) {
      const length = new DataView(new ArrayBuffer(8));
      length.setBigUint64(0, BigInt(s.length), true);
      hash.update(new Uint8Array(length.buffer)).update(s);
    }
  else if (tensorBytes(tensor) > 0) throw new Error("a tensor was not written");
  return hash.digest("hex");
}

function describeTensors(
  layout: Layout,
  hashes: ReadonlyMap<Tensor, string>,
  hashed: boolean,
): WrittenModel["tensors"] {
  // Tensors stored once under several names share the place and with it the hash.
  const byOffset = new Map(layout.external.map((e) => [e.offset, e.tensor]));
  return layout.initializers.map(({ name, tensor }) => {
    const place = layout.place(tensor);
    const first = place === null ? tensor : (byOffset.get(place.offset) ?? tensor);
    return {
      name,
      dtype: tensor.dtype,
      dims: tensor.dims,
      bytes: tensorBytes(tensor),
      sha256: hashed ? (layout.known.get(tensor) ?? hashes.get(first) ?? hashAtHand(tensor)) : "",
      location: place ?? ("inline" as const),
    };
  });
}
