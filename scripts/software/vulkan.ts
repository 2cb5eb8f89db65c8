import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Unavailable, unpack } from "./unpack.ts";

/** A Vulkan driver that runs on the processor, ready to be used by child processes. */
export interface SoftwareVulkan {
  /** Version of Mesa. */
  readonly mesa: string;
  /** Variables a process must start with to find the loader and the driver. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The oldest Mesa whose lavapipe has what WebGPU asks of an adapter; 22.3 lacks dynamic indexing of uniform arrays. */
const OLDEST_MESA = 25;

/** Folders below `root` that hold shared libraries programs link to; plugins are found by other means. */
export function libraryFolders(root: string): string[] {
  const found = new Set<string>();
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true }))
    if (/^lib[^/]*\.so(\.|$)/.test(entry.name)) found.add(entry.parentPath);
  return [...found].sort();
}

/** Puts folders in front of what the process itself finds libraries with. */
export function libraryPath(folders: readonly string[]): string {
  return [...folders, process.env["LD_LIBRARY_PATH"] ?? ""].filter((f) => f !== "").join(":");
}

/** Mesa's lavapipe, unpacked into `.cache/vulkan` below `project`. Throws {@link Unavailable}. */
export function softwareVulkan(project: string): SoftwareVulkan {
  const folder = join(project, ".cache", "vulkan");
  const wanted = { folder, packages: ["mesa-vulkan-drivers", "libvulkan1"], backports: true };
  const { root, versions } = unpack(wanted);
  const mesa = versions["mesa-vulkan-drivers"];
  if (mesa === undefined)
    throw new Unavailable("the system has Mesa installed in the newest version it offers: nothing to unpack");
  if (!(Number.parseInt(mesa.replace(/^\d+:/, ""), 10) >= OLDEST_MESA))
    throw new Unavailable(`Mesa ${mesa} is too old: WebGPU needs ${OLDEST_MESA} or newer`);
  const manifests = join(root, "usr", "share", "vulkan", "icd.d");
  const name = readdirSync(manifests).find((f) => f.startsWith("lvp_icd."));
  if (name === undefined) throw new Unavailable(`mesa-vulkan-drivers ${mesa} holds no lavapipe`);
  const manifest = JSON.parse(readFileSync(join(manifests, name), "utf8"));
  const folders = libraryFolders(root);
  const library = String(manifest.ICD.library_path).split("/").at(-1)!;
  const where = folders.find((f) => readdirSync(f).includes(library));
  if (where === undefined) throw new Unavailable(`mesa-vulkan-drivers ${mesa} holds no ${library}`);
  manifest.ICD.library_path = join(where, library);
  const icd = join(folder, "lavapipe.json");
  writeFileSync(icd, `${JSON.stringify(manifest, null, 2)}\n`);
  return {
    mesa,
    environment: { LD_LIBRARY_PATH: libraryPath(folders), VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd },
  };
}
