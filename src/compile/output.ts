import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fail } from "../diagnostics/index.ts";

/** The file that marks a folder as a build of ours: only such a folder is ever replaced. */
export const MANIFEST = "manifest.json";

/** A build being written: a hidden sibling of the final folder, swapped in when complete. */
export interface OutputFolder {
  /** The folder to write into for now. */
  readonly staging: string;
  /** Absolute path of a file of the build, its folder made. */
  file(relativePath: string): string;
  write(relativePath: string, data: string | Uint8Array): void;
  copy(from: string, relativePath: string): void;
  /** Puts the build in its final place, replacing an earlier build. */
  commit(): void;
  /** Removes everything written so far; harmless after {@link OutputFolder.commit}. */
  discard(): void;
}

/** File-system refusals that are the user's to solve; anything else is a bug. */
const FAULTS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
  ENOTDIR: "part of the path is a file, not a folder",
  EEXIST: "part of the path is a file, not a folder",
  EISDIR: "the path is a folder",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "too many symbolic links",
  EIO: "the disk reported an error",
  ENOENT: "the path does not exist",
  EMFILE: "too many open files",
  EBUSY: "the path is in use",
};

/** Refusals that mean there is no room for the file. */
const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Runs a step of writing; file-system refusals become OUTPUT_UNWRITABLE or DISK_FULL naming `path`. */
export function writing<T>(path: string, step: () => T, bytes = 0): T {
  try {
    return step();
  } catch (cause) {
    throw asOutputFault(path, cause, bytes);
  }
}

function asOutputFault(path: string, cause: unknown, bytes: number): unknown {
  const code = cause instanceof Error && "code" in cause && "syscall" in cause ? String(cause.code) : "";
  const problem = FAULTS[code];
  try {
    if (FULL.has(code)) fail("DISK_FULL", { path, bytes }, cause);
    if (problem !== undefined) fail("OUTPUT_UNWRITABLE", { path, problem: `${problem} (${code})` }, cause);
  } catch (coded) {
    return coded;
  }
  return cause;
}

function isInside(path: string, folder: string): boolean {
  const r = relative(folder, path);
  return r === "" || (!r.startsWith(`..${sep}`) && r !== ".." && resolve(folder, r) === path);
}

/** A new hidden folder beside the final one. A number tells it from what a killed run left behind. */
function makeSibling(parent: string, name: string): string {
  for (let k = 0; ; k++) {
    const path = join(parent, `.${name}.partial-${k}`);
    if (existsSync(path)) continue;
    mkdirSync(path);
    return path;
  }
}

/** The path with symbolic links followed as far as it exists. */
function real(path: string): string {
  const rest: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    if (existsSync(at)) return join(realpathSync(at), ...rest);
    rest.unshift(basename(at));
    if (dirname(at) === at) return resolve(path);
  }
}

/**
 * Opens a build folder for `out`. `source` is the input, which the build may not lie over. Nothing appears at `out`
 * before `commit`. Errors: OUTPUT_UNWRITABLE, DISK_FULL, OUTPUT_NOT_OURS, OUTPUT_OVER_INPUT.
 */
export function openOutput(out: string, source: string): OutputFolder {
  const target = writing(out, () => real(out));
  const input = real(source);
  if (isInside(input, target)) fail("OUTPUT_OVER_INPUT", { path: out, source });
  const exists = existsSync(target);
  if (exists && !lstatSync(target).isDirectory())
    fail("OUTPUT_UNWRITABLE", { path: out, problem: "a file with that name exists" });
  const replaceable = (): boolean => {
    const entries = readdirSync(target);
    return entries.length === 0 || entries.includes(MANIFEST);
  };
  if (exists && !writing(out, replaceable)) fail("OUTPUT_NOT_OURS", { path: out });

  const parent = dirname(target);
  const firstMade = writing(out, () => mkdirSync(parent, { recursive: true }));
  let staging: string;
  try {
    staging = writing(out, () => makeSibling(parent, basename(target)));
  } catch (cause) {
    if (firstMade !== undefined) rmSync(firstMade, { recursive: true, force: true });
    throw cause;
  }
  let done = false;
  const file = (path: string): string => {
    // Work that an interrupt left running must not bring a discarded folder back.
    if (done) fail("INTERRUPTED", { during: `writing ${path}` });
    const full = join(staging, path);
    writing(out, () => mkdirSync(dirname(full), { recursive: true }));
    return full;
  };
  return {
    staging,
    file,
    write: (path, data) => writing(out, () => writeFileSync(file(path), data), data.length),
    copy: (from, path) => writing(out, () => copyFileSync(from, file(path))),
    commit() {
      writing(out, () => {
        if (!existsSync(target)) {
          renameSync(staging, target);
        } else {
          const old = `${staging}-old`;
          renameSync(target, old);
          try {
            renameSync(staging, target);
          } catch (cause) {
            renameSync(old, target);
            throw cause;
          }
          rmSync(old, { recursive: true, force: true });
        }
      });
      done = true;
    },
    discard() {
      if (done) return;
      done = true;
      rmSync(staging, { recursive: true, force: true });
      if (firstMade !== undefined) rmSync(firstMade, { recursive: true, force: true });
    },
  };
}
