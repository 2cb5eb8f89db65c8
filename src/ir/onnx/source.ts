import * as fs from "node:fs";
import { fail } from "../../diagnostics/index.ts";
import type { TensorSource } from "../tensor.ts";

/** Random access to the bytes of a model: a file or memory. */
export interface ByteSource {
  /** Name in diagnostics. */
  readonly file: string;
  readonly size: number;
  /** The whole content, when it is in memory. */
  readonly memory: Uint8Array | null;
  /** Reads up to `length` bytes at `position` into the start of `target`; returns how many were there. */
  fill(target: Uint8Array, position: number, length: number): number;
  /** A range as tensor source: located in a file, a copy of memory. */
  range(position: number, length: number): TensorSource;
  close(): void;
}

/** Bytes in memory. `range` copies, so that typed array views of the result are aligned. */
export function memorySource(bytes: Uint8Array, file: string): ByteSource {
  return {
    file,
    size: bytes.length,
    memory: bytes,
    fill(target, position, length) {
      const part = bytes.subarray(position, position + length);
      target.set(part);
      return part.length;
    },
    range: (position, length) => ({
      kind: "inline",
      bytes: new Uint8Array(bytes.subarray(position, position + length)),
    }),
    close() {},
  };
}

/** Opens a regular file for positional reads. Fails with ONNX_UNREADABLE. */
export function fileSource(path: string): ByteSource {
  let fd: number;
  let size: number;
  try {
    // A pipe would block in open, so the kind is asked first.
    if (!fs.statSync(path).isFile()) fail("ONNX_UNREADABLE", { file: path, problem: "not a regular file" });
    fd = fs.openSync(path, "r");
    size = fs.fstatSync(fd).size;
  } catch (cause) {
    if (!(cause instanceof Error) || !("syscall" in cause)) throw cause;
    fail("ONNX_UNREADABLE", { file: path, problem: systemProblem(cause) }, cause);
  }
  return {
    file: path,
    size,
    memory: null,
    fill(target, position, length) {
      let done = 0;
      while (done < length) {
        const n = fs.readSync(fd, target, done, length - done, position + done);
        if (n === 0) break;
        done += n;
      }
      return done;
    },
    range: (position, length) => ({ kind: "file", path, offset: position, length }),
    close: () => fs.closeSync(fd),
  };
}

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EISDIR: "is a folder",
  ENOTDIR: "part of the path is not a folder",
  EROFS: "the file system is read-only",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the path is too long",
};

/** A file system error in words. */
export function systemProblem(error: unknown): string {
  const code = errorCode(error);
  return PROBLEMS[code] ?? (error instanceof Error ? error.message : String(error));
}

/** The `code` of a file system error, or `""`. */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
