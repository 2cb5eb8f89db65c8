import { fail } from "../../diagnostics/index.ts";
import type { TensorSource } from "../tensor.ts";
import { EXTRA_BYTES, MAX_DEPTH, MAX_NAME, MAX_RESIDENT, OBJECT_BYTES } from "./limits.ts";
import type { ByteSource } from "./source.ts";
import { Window } from "./window.ts";

/** Longest varint. */
const VARINT = 10;

/**
 * Walks protobuf messages of a source without reading the payloads it is told to skip. It looks through a window that
 * moves over the file; protobufjs decodes the primitives inside it. A message is read as
 * `const outer = c.enter(); for (let tag; (tag = c.tag()) !== 0; ) switch (tag) {...} c.leave(outer)`.
 * Every method fails with a coded diagnostic when the bytes do not allow what is asked.
 */
export class Cursor {
  readonly source: ByteSource;
  /** Offset of the tag read last. */
  fieldStart = 0;
  /** Low and high word of the varint read last by {@link Cursor.words}. */
  low = 0;
  high = 0;
  readonly #window: Window;
  #limit: number;
  #depth = 0;
  #resident = 0;

  constructor(source: ByteSource) {
    this.source = source;
    this.#limit = source.size;
    this.#window = new Window(source);
  }

  /** Absolute offset of the next byte. */
  get position(): number {
    return this.#window.base + this.#window.reader.pos;
  }

  /** Goes to an offset inside the message being read. */
  seek(position: number): void {
    this.#window.seek(position);
  }

  /** Fails with ONNX_TRUNCATED at the current place. */
  truncated(expected: number): never {
    fail("ONNX_TRUNCATED", {
      file: this.source.file,
      offset: this.position,
      expected,
      size: this.source.size,
    });
  }

  /** Fails with ONNX_MALFORMED at the field read last. */
  malformed(problem: string, offset = this.fieldStart): never {
    fail("ONNX_MALFORMED", { file: this.source.file, offset, problem });
  }

  /** Fails with ONNX_LIMIT when `found` exceeds `limit`. */
  bound(what: string, found: number, limit: number, why: string): void {
    if (found > limit)
      fail("ONNX_LIMIT", { file: this.source.file, offset: this.fieldStart, what, found, limit, why });
  }

  /** Counts memory the model will hold; see {@link MAX_RESIDENT}. */
  charge(bytes: number): void {
    this.#resident += bytes;
    if (this.#resident > MAX_RESIDENT)
      this.bound(
        "the memory for the model's structure",
        this.#resident,
        MAX_RESIDENT,
        "weights do not count, so real models stay far below it",
      );
  }

  /** Reads a varint into {@link Cursor.low} and {@link Cursor.high}. */
  words(): void {
    this.#window.need(VARINT);
    const r = this.#window.reader;
    if (r.pos < r.len) {
      const byte = this.#window.buffer[r.pos]!;
      if (byte < 0x80) {
        r.pos++;
        this.low = byte;
        this.high = 0;
        return;
      }
    }
    const at = this.position;
    const left = Math.min(VARINT, r.len - r.pos);
    let last = 0;
    while (last < left && this.#window.buffer[r.pos + last]! >= 0x80) last++;
    if (last === left) {
      if (left < VARINT) this.truncated(1);
      this.malformed("a varint is longer than 10 bytes", at);
    }
    const value = r.uint64();
    if (typeof value === "number") throw new Error("protobufjs has no 64-bit integers");
    this.low = value.low;
    this.high = value.high;
  }

  /** The next field's tag (number and wire type), or 0 at the end of the message. */
  tag(): number {
    const at = this.position;
    if (at >= this.#limit) {
      if (at > this.#limit) this.malformed("a field runs past the end of its message");
      return 0;
    }
    this.fieldStart = at;
    this.words();
    if (this.high !== 0 || this.low >>> 0 < 8) this.malformed("found a field number outside 1..2^29-1");
    return this.low >>> 0;
  }

  /** A signed 64-bit integer, exact. */
  int64(): number | bigint {
    this.words();
    const { low, high } = this;
    // Safe when the high word fits 21 bits with sign.
    if (high >= -0x200000 && high < 0x200000) {
      const value = high * 4294967296 + (low >>> 0);
      if (Number.isSafeInteger(value)) return value;
    }
    return (BigInt(high) << 32n) | BigInt(low >>> 0);
  }

  /** A signed 32-bit integer or enum. */
  int32(): number {
    this.words();
    return this.low | 0;
  }

  float(): number {
    this.#fixed(4);
    return this.#window.reader.float();
  }

  /** Bits of a 32-bit field. */
  fixed32(): number {
    this.#fixed(4);
    return this.#window.reader.fixed32();
  }

  #fixed(bytes: number): void {
    this.#window.need(bytes);
    if (this.#window.reader.len - this.#window.reader.pos < bytes) this.truncated(bytes);
  }

  /** Length of the payload that follows; checked against the enclosing message. */
  length(): number {
    this.words();
    const n = (this.high >>> 0) * 4294967296 + (this.low >>> 0);
    const at = this.position;
    if (at + n > this.#limit) {
      if (this.#limit === this.source.size) this.truncated(n);
      this.malformed(`a field claims ${n} bytes, its message has ${this.#limit - at} left`);
    }
    return n;
  }

  /** Enters the message that follows; returns what {@link Cursor.leave} needs. */
  enter(): number {
    const n = this.length();
    return this.within(this.position + n);
  }

  /** Enters a message that starts here and ends at `end`, inside the one being read. */
  within(end: number): number {
    const outer = this.#limit;
    this.#depth++;
    this.bound("the nesting of messages", this.#depth, MAX_DEPTH, "no protobuf implementation reads more");
    this.#limit = end;
    return outer;
  }

  /** Leaves a message after its last field. */
  leave(outer: number): void {
    this.#limit = outer;
    this.#depth--;
  }

  /** Offset where the message being read ends. */
  get end(): number {
    return this.#limit;
  }

  /** A name or key. Invalid UTF-8 is refused: it could not be written back. */
  name(): string {
    const n = this.length();
    this.charge(n * 2 + 32);
    if (n === 0) return "";
    this.bound("the length of a name", n, MAX_NAME, "exporters write a few hundred bytes");
    this.#window.need(n);
    const r = this.#window.reader;
    const start = r.pos;
    if (r.len - start < n) this.truncated(n);
    r.pos = start + n;
    const text = this.#window.buffer.toString("utf8", start, start + n);
    if (
      text.includes("\ufffd") &&
      Buffer.compare(Buffer.from(text), this.#window.buffer.subarray(start, start + n)) !== 0
    )
      this.malformed("a name is not valid UTF-8");
    return text;
  }

  /** A copy of the payload that follows. */
  bytes(): Uint8Array {
    const n = this.length();
    const at = this.position;
    const out = this.copy(at, n);
    this.seek(at + n);
    return out;
  }

  /** A copy of any range of the message being read; the position stays. */
  copy(at: number, length: number): Uint8Array {
    this.charge(length + OBJECT_BYTES);
    const out = new Uint8Array(length);
    if (!this.#window.copy(out, at)) this.truncated(length);
    return out;
  }

  /** A range as tensor source: a copy when at most `inline` bytes, else located. */
  range(at: number, length: number, inline: number): TensorSource {
    if (this.source.memory !== null || length > inline) return this.source.range(at, length);
    return { kind: "inline", bytes: this.copy(at, length) };
  }

  /** Skips the payload of the field whose tag was read last. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.words();
        return;
      case 1:
        this.#forward(8);
        return;
      case 2:
        this.#forward(this.length());
        return;
      case 3:
        this.#skipGroup(tag >>> 3);
        return;
      case 5:
        this.#forward(4);
        return;
      default:
        this.malformed(`found wire type ${tag & 7}`);
    }
  }

  #forward(bytes: number): void {
    const to = this.position + bytes;
    if (to > this.source.size) this.truncated(bytes);
    this.seek(to);
  }

  #skipGroup(field: number): void {
    this.#depth++;
    this.bound("the nesting of messages", this.#depth, MAX_DEPTH, "no protobuf implementation reads more");
    for (;;) {
      const tag = this.tag();
      if (tag === 0) this.malformed("a group has no end");
      if ((tag & 7) === 4) {
        if (tag >>> 3 !== field) this.malformed("a group ends with another number than it began");
        break;
      }
      this.skip(tag);
    }
    this.#depth--;
  }

  /** Skips the field whose tag was read last and appends its wire bytes, tag included, to `extra`. */
  keep(tag: number, extra: TensorSource[] | undefined): TensorSource[] {
    const start = this.fieldStart;
    this.skip(tag);
    const out = extra ?? [];
    this.charge(OBJECT_BYTES);
    out.push(this.range(start, this.position - start, EXTRA_BYTES));
    return out;
  }
}
