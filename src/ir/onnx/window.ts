import { Reader } from "protobufjs/minimal.js";
import type { ByteSource } from "./source.ts";

/** Window sizes: small after a jump over a payload, doubled while reading goes on in order. */
const FIRST_WINDOW = 16 * 1024;
const LARGEST_WINDOW = 1024 * 1024;

/** The part of a source that is in memory, and protobufjs's reader over it. A source in memory is one window. */
export class Window {
  /** Decodes primitives; `pos` and `len` count from {@link Window.base}. Replaced when the window grows. */
  reader: Reader;
  buffer: Buffer;
  /** Offset of the window in the source. */
  base = 0;
  readonly #source: ByteSource;
  #size = FIRST_WINDOW;

  constructor(source: ByteSource) {
    this.#source = source;
    const { memory } = source;
    this.buffer =
      memory === null
        ? Buffer.allocUnsafeSlow(Math.min(LARGEST_WINDOW, Math.max(source.size, 1)))
        : Buffer.from(memory.buffer, memory.byteOffset, memory.byteLength);
    this.reader = Reader.create(this.buffer);
    this.reader.len = memory === null ? 0 : memory.length;
  }

  /** Goes to an offset of the source, inside the window or not. */
  seek(position: number): void {
    const inside = position - this.base;
    if (inside >= 0 && inside <= this.reader.len) {
      this.reader.pos = inside;
      return;
    }
    this.base = position;
    this.reader.pos = 0;
    this.reader.len = 0;
    this.#size = FIRST_WINDOW;
  }

  /** Makes `count` bytes available from here on where the source has them. */
  need(count: number): void {
    const r = this.reader;
    if (r.len - r.pos >= count || this.base + r.len >= this.#source.size) return;
    const base = this.base + r.pos;
    const size = Math.max(this.#size, count);
    if (size > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(size);
      this.reader = Reader.create(this.buffer);
    }
    // A file that shrank while it is read has less; the reader finds the end where it is.
    this.reader.len = this.#source.fill(this.buffer, base, Math.min(size, this.#source.size - base));
    this.reader.pos = 0;
    this.base = base;
    this.#size = Math.min(this.#size * 2, LARGEST_WINDOW);
  }

  /** Copies the source from `at` on into `out`; false when it ends before. The position stays. */
  copy(out: Uint8Array, at: number): boolean {
    const start = at - this.base;
    if (start >= 0 && start + out.length <= this.reader.len) {
      out.set(this.buffer.subarray(start, start + out.length));
      return true;
    }
    return this.#source.fill(out, at, out.length) === out.length;
  }
}
