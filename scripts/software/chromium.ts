import { existsSync } from "node:fs";
import { join } from "node:path";
import { Unavailable, unpack } from "./unpack.ts";
import { libraryFolders, libraryPath } from "./vulkan.ts";

/** A Chromium that can be started. */
export interface Chromium {
  readonly executable: string;
  /** Variables it needs beside the process's own. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Where distributions put it. */
const INSTALLED = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/usr/bin/google-chrome-stable",
];

/**
 * The browser that `CHROMIUM` names, an installed one, or the distribution's own package unpacked into
 * `.cache/chromium` below `project`. Throws {@link Unavailable}.
 */
export function chromium(project: string): Chromium {
  const named = process.env["CHROMIUM"];
  const found = named === undefined ? INSTALLED.find((path) => existsSync(path)) : named;
  if (found !== undefined) return { executable: found, environment: {} };
  const { root } = unpack({
    folder: join(project, ".cache", "chromium"),
    packages: ["chromium"],
    backports: false,
  });
  const executable = join(root, "usr", "lib", "chromium", "chromium");
  if (!existsSync(executable)) throw new Unavailable("the distribution's chromium package holds no browser");
  return { executable, environment: { LD_LIBRARY_PATH: libraryPath(libraryFolders(root)) } };
}
