import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemSources, withBackports } from "./sources.ts";

/** Programs that a check wants and the system may lack, as its own package manager knows them. */
export interface Wanted {
  /** Folder they are unpacked into. It is made complete or not at all. */
  readonly folder: string;
  /** Packages by name; what they depend on and the system lacks comes with them. */
  readonly packages: readonly string[];
  /** Prefer the backports of the release. */
  readonly backports: boolean;
}

/** What was unpacked: versions by package. */
export interface Unpacked {
  readonly root: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** Why something cannot be had on this machine. Checks that need it are skipped and count nothing. */
export class Unavailable extends Error {}

const LIST = "packages.json";

/** The release this system is, from `os-release(5)`. */
function codename(): string {
  const file = "/etc/os-release";
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const name = /^VERSION_CODENAME="?([\w-]+)"?$/m.exec(text)?.[1];
  if (name === undefined)
    throw new Unavailable("this system names no release that packages could be looked up for");
  return name;
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  if (error !== undefined) throw new Unavailable(`${command} cannot be run: ${error.message}`);
  if (status !== 0) {
    const why = stderr.split("\n").filter((l) => /^(E|dpkg)[:-]/.test(l));
    throw new Unavailable(`${command} ${args.at(-1)} failed: ${why.slice(0, 3).join("; ") || stderr.trim()}`);
  }
  return stdout;
}

/** Options that keep everything apt writes below `state` and read what is installed from the system. */
function aptOptions(state: string, codenameBackports: string | null): string[] {
  const settings: Record<string, string> = {
    "Dir::Etc::sourcelist": join(state, "wanted.sources"),
    "Dir::Etc::sourceparts": "-",
    "Dir::State": join(state, "state"),
    "Dir::State::lists": join(state, "lists"),
    "Dir::Cache": join(state, "cache"),
    "APT::Sandbox::User": "",
    "Acquire::Languages": "none",
    "Debug::NoLocking": "true",
    "APT::Install-Recommends": "false",
  };
  if (codenameBackports !== null) settings["APT::Default-Release"] = codenameBackports;
  return Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}

/**
 * Fetches packages with what they need from the archives this system already reads, checked by apt against their
 * signed hashes, and unpacks them without root. A complete folder is used again. Throws {@link Unavailable} without
 * apt, without the release's archives, or without a network.
 */
export function unpack({ folder, packages, backports }: Wanted): Unpacked {
  const root = join(folder, "root");
  const list = join(folder, LIST);
  if (existsSync(list)) return { root, versions: JSON.parse(readFileSync(list, "utf8")) };
  if (process.platform !== "linux")
    throw new Unavailable("packages of a Linux distribution only unpack on Linux");
  const release = codename();
  const sources = withBackports(systemSources("/etc/apt"), release);
  if (sources === null) throw new Unavailable(`no package source of this system carries ${release}`);
  rmSync(folder, { recursive: true, force: true });
  const state = join(folder, "apt");
  for (const part of ["state", "lists/partial", "cache/archives/partial"])
    mkdirSync(join(state, part), { recursive: true });
  writeFileSync(join(state, "wanted.sources"), sources);
  const options = aptOptions(state, backports ? `${release}-backports` : null);
  run("apt-get", [...options, "-q", "--error-on=any", "update"]);
  run("apt-get", [...options, "-q", "-y", "--download-only", "install", ...packages]);
  const archives = join(state, "cache", "archives");
  const versions: Record<string, string> = {};
  for (const name of readdirSync(archives)
    .filter((f) => f.endsWith(".deb"))
    .sort()) {
    const file = join(archives, name);
    run("dpkg-deb", ["--extract", file, root]);
    const fields = run("dpkg-deb", ["--field", file, "Package", "Version"]);
    const [, id, version] = /^Package: (.+)\nVersion: (.+)$/m.exec(fields) ?? [];
    versions[id!] = version!;
  }
  rmSync(state, { recursive: true, force: true });
  writeFileSync(list, `${JSON.stringify(versions, null, 2)}\n`);
  return { root, versions };
}

/** Exit code of a check that could not run here, as test harnesses know it. */
const SKIPPED = 77;

/** The result of `get`, or an end of the process that says loudly what is missing and why. */
export function skipUnavailable<T>(what: string, get: () => T): T {
  try {
    return get();
  } catch (e) {
    if (!(e instanceof Unavailable)) throw e;
    process.stderr.write(`SKIPPED: no ${what} on this machine: ${e.message}. Nothing was checked.\n`);
    process.exit(SKIPPED);
  }
}
