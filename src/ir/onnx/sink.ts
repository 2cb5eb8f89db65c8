import { Writer } from "protobufjs/minimal.js";
import type { Tensor, TensorSource } from "../tensor.ts";

/** A piece of a message: bytes at hand, or the bytes of a tensor that are fetched when the piece is written. */
export type Part = Uint8Array | TensorPart;

/** Payload that is not in memory while the message around it is put together. */
export interface TensorPart {
  readonly tensor: Tensor;
  readonly length: number;
}

/** Writes one protobuf message as a list of parts, so that payloads larger than memory keep their place. */
export class Sink {
  #writer = Writer.create();
  readonly #parts: Part[] = [];
  #flushed = 0;

  /** Bytes so far. */
  get size(): number {
    return this.#flushed + this.#writer.len;
  }

  varint(tag: number, value: number | bigint): void {
    this.#writer.uint32(tag);
    this.integer(value);
  }

  /** A signed 64-bit varint without tag. */
  integer(value: number | bigint): void {
    const n = Number(value);
    this.#writer.int64(Number.isSafeInteger(n) ? n : BigInt.asIntN(64, BigInt(value)).toString());
  }

  float(tag: number, value: number): void {
    this.#writer.uint32(tag).float(value);
  }

  string(tag: number, value: string): void {
    this.#writer.uint32(tag).string(value);
  }

  bytes(tag: number, value: Uint8Array): void {
    this.#writer.uint32(tag).bytes(value);
  }

  /** Wire bytes as they are, tags included. */
  raw(source: TensorSource): void {
    if (source.kind === "inline") this.#writer.raw(source.bytes);
    else if (source.kind === "file")
      this.#hole({ dtype: "u8", dims: [source.length], source }, source.length);
    else throw new Error(`wire bytes cannot come from a ${source.kind} tensor`);
  }

  /** A field whose payload is the bytes of a tensor. */
  tensor(tag: number, tensor: Tensor, length: number): void {
    if (tensor.source.kind === "inline") {
      this.bytes(tag, tensor.source.bytes);
      return;
    }
    this.#writer.uint32(tag).uint64(length);
    this.#hole(tensor, length);
  }

  #hole(tensor: Tensor, length: number): void {
    this.#flush();
    this.#parts.push({ tensor, length });
    this.#flushed += length;
  }

  /** A field that is a message. */
  message(tag: number, body: (inner: Sink) => void): void {
    const inner = new Sink();
    body(inner);
    this.#writer.uint32(tag).uint64(inner.size);
    if (inner.#parts.length === 0) {
      this.#writer.raw(inner.#writer.finish());
      return;
    }
    this.#flush();
    for (const part of inner.parts()) this.#parts.push(part);
    this.#flushed += inner.size;
  }

  #flush(): void {
    if (this.#writer.len === 0) return;
    const bytes = this.#writer.finish();
    this.#parts.push(bytes);
    this.#flushed += bytes.length;
    this.#writer = Writer.create();
  }

  /** The message in order. */
  parts(): readonly Part[] {
    this.#flush();
    return this.#parts;
  }
}
