import * as fs from "node:fs";
import { dirname, isAbsolute, join, sep } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import type { TensorSource } from "../tensor.ts";
import { systemProblem } from "./source.ts";

/** Where a path leads; the path itself when nothing is there (the model may be in memory only). */
function realPath(path: string): string {
  return fs.existsSync(path) ? fs.realpathSync(path) : path;
}

/** One external data entry of a tensor, as written, with where it stands. */
export interface ExternalEntry {
  readonly tensor: string;
  /** Offset of the tensor in the model file, for messages. */
  readonly at: number;
  readonly location: string | undefined;
  readonly offset: string | undefined;
  readonly length: string | undefined;
}

/** Finds the data files of one model. */
export interface ExternalData {
  /** Checks the entry against the file it names. `bytes` is what the tensor's dims and type need. */
  locate(entry: ExternalEntry, bytes: number): TensorSource;
}

interface DataFile {
  readonly path: string;
  readonly size: number;
}

/**
 * Resolves external data below the folder of `model` (and the folder of the file it links to, as download caches keep
 * models and data behind symbolic links). Nothing outside, whatever links are on the way, is ever opened. With
 * `absent` a data file that does not exist is taken to be as long as it should be.
 */
export function externalData(
  model: string,
  o: { readonly onDisk: boolean; readonly absent?: boolean },
): ExternalData {
  const files = new Map<string, DataFile>();
  let roots: readonly string[] | null = null;

  const open = (entry: ExternalEntry, location: string): DataFile => {
    const details = { file: model, offset: entry.at, tensor: entry.tensor, location };
    const outside = (problem: string): never => fail("EXTERNAL_DATA_OUTSIDE", { ...details, problem });
    if (location.includes("\0")) outside("the path contains a zero byte");
    if (isAbsolute(location) || /^([a-zA-Z]:)?[\\/]/.test(location) || /^[a-zA-Z]:/.test(location))
      outside("the path is absolute");
    if (location.split(/[\\/]/).includes("..")) outside("the path climbs out of its folder");
    if (!o.onDisk) outside("the model is in memory and has no folder");
    try {
      roots ??= [fs.realpathSync(dirname(model)), dirname(realPath(model))];
      const path = fs.realpathSync(join(dirname(model), location));
      if (!roots.some((root) => path.startsWith(root.endsWith(sep) ? root : root + sep)))
        outside("a symbolic link on the way leads outside the model's folder");
      const stat = fs.statSync(path);
      if (!stat.isFile())
        fail("EXTERNAL_DATA_MISSING", { ...details, problem: "that is not a regular file" });
      return { path, size: stat.size };
    } catch (cause) {
      if (!(cause instanceof Error) || !("syscall" in cause)) throw cause;
      if (o.absent === true && "code" in cause && cause.code === "ENOENT")
        return { path: join(dirname(model), location), size: Number.MAX_SAFE_INTEGER };
      return fail("EXTERNAL_DATA_MISSING", { ...details, problem: systemProblem(cause) }, cause);
    }
  };

  return {
    locate(entry, bytes) {
      const invalid = (problem: string): never =>
        fail("ONNX_TENSOR_INVALID", { file: model, offset: entry.at, tensor: entry.tensor, problem });
      const { location } = entry;
      if (location === undefined || location === "") return invalid("is external but names no location");
      const number = (text: string | undefined, what: string): number | undefined => {
        if (text === undefined) return undefined;
        const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
        return Number.isSafeInteger(value) ? value : invalid(`has ${what} "${text.slice(0, 40)}"`);
      };
      const offset = number(entry.offset, "external offset") ?? 0;
      const length = number(entry.length, "external length");
      if (length !== undefined && length !== bytes)
        invalid(`needs ${bytes} bytes for its dims and type, its external data has ${length}`);
      let file = files.get(location);
      if (file === undefined) {
        file = open(entry, location);
        files.set(location, file);
      }
      if (offset + bytes > file.size)
        fail("EXTERNAL_DATA_SHORT", {
          file: model,
          offset: entry.at,
          tensor: entry.tensor,
          location,
          end: offset + bytes,
          size: file.size,
        });
      return { kind: "file", path: file.path, offset, length: bytes };
    },
  };
}
