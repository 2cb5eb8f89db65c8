import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One package archive this system is set up to read. */
export interface PackageSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Other fields as they were written, such as `Signed-By`. */
  readonly fields: ReadonlyMap<string, string>;
}

/** `sources.list(5)`: `deb [option=value …] uri suite component …`. */
function oneLine(text: string): PackageSource[] {
  const found: PackageSource[] = [];
  for (const line of text.split("\n")) {
    const m = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)/.exec(line);
    if (m === null) continue;
    const fields = new Map<string, string>();
    for (const option of m[1]?.trim().split(/\s+/) ?? []) {
      const [key, value] = option.split("=");
      if (key?.toLowerCase() === "signed-by" && value !== undefined) fields.set("Signed-By", value);
    }
    found.push({ uris: [m[2]!], suites: [m[3]!], components: m[4]!.trim().split(/\s+/), fields });
  }
  return found;
}

/** The deb822 form: stanzas of `Key: value`, continued on lines that start with a space. */
function stanzas(text: string): PackageSource[] {
  const found: PackageSource[] = [];
  for (const stanza of text.replace(/^#.*\n/gm, "").split(/\n\s*\n/)) {
    const all = new Map<string, string>();
    for (const m of stanza.matchAll(/^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)/gm))
      all.set(m[1]!, m[2]!.trimEnd());
    const words = (key: string): string[] => all.get(key)?.trim().split(/\s+/) ?? [];
    if (!words("Types").includes("deb") || /^no$/i.test(all.get("Enabled") ?? "yes")) continue;
    const signed = all.get("Signed-By");
    found.push({
      uris: words("URIs"),
      suites: words("Suites"),
      components: words("Components"),
      fields: new Map(signed === undefined ? [] : [["Signed-By", signed]]),
    });
  }
  return found;
}

/** Archives in the sources below `folder`, in both formats apt reads. */
export function systemSources(folder: string): PackageSource[] {
  const found: PackageSource[] = [];
  const list = join(folder, "sources.list");
  if (existsSync(list)) found.push(...oneLine(readFileSync(list, "utf8")));
  const parts = join(folder, "sources.list.d");
  for (const name of existsSync(parts) ? readdirSync(parts).sort() : []) {
    const text = (): string => readFileSync(join(parts, name), "utf8");
    if (name.endsWith(".list")) found.push(...oneLine(text()));
    if (name.endsWith(".sources")) found.push(...stanzas(text()));
  }
  return found;
}

/**
 * The archives of the release `codename` with its backports beside it, as a deb822 file: same addresses, same keys.
 * `null` when no source of the system carries the release.
 */
export function withBackports(sources: readonly PackageSource[], codename: string): string | null {
  const out: string[] = [];
  for (const source of sources) {
    const ours = source.suites.filter((s) => s === codename || s.startsWith(`${codename}-`));
    if (ours.length === 0) continue;
    const backports = `${codename}-backports`;
    const suites = new Set(ours.includes(codename) ? [...ours, backports] : ours);
    const lines = [
      "Types: deb",
      `URIs: ${source.uris.join(" ")}`,
      `Suites: ${[...suites].join(" ")}`,
      `Components: ${source.components.join(" ")}`,
      ...[...source.fields].map(([key, value]) => `${key}: ${value}`),
    ];
    out.push(lines.join("\n"));
  }
  return out.length === 0 ? null : `${out.join("\n\n")}\n`;
}
