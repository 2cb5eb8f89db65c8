// Writes everything that is generated from declarations: docs pages, JSON schemas, the version. A test fails when the
// tree differs from what this writes.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { helpPage } from "../cli/help.ts";
import {
  buildSchema,
  codesPage,
  passes,
  passPage,
  recipeSchema,
  reportSchema,
  rulesPage,
  targetPage,
  targets,
} from "../src/index.ts";
import { shownPasses } from "./docs/graphs.ts";

/** Widest line the formatter leaves in one piece. */
const LINE = 110;

/** JSON as the formatter of this repository writes it: short lists of plain values stay on one line. */
function prettyJson(value: unknown, indent = "", used = 0): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const flat = `[${value.map((v) => JSON.stringify(v)).join(", ")}]`;
    const plain = value.every((v) => typeof v !== "object" || v === null);
    if (value.length === 0 || (plain && used + flat.length <= LINE)) return flat;
    return `[\n${value.map((v) => inner + prettyJson(v, inner, inner.length)).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([k, v]) => {
    const key = `${inner}${JSON.stringify(k)}: `;
    return key + prettyJson(v, inner, key.length + 1);
  });
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** Path below the repository root to content, for every generated file. */
export async function generatedFiles(): Promise<Map<string, string>> {
  const pkg = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const files = new Map<string, string>();
  const json = (value: unknown): string => `${prettyJson(value)}\n`;
  files.set("schema/recipe.json", json(recipeSchema()));
  files.set("schema/report.json", json(reportSchema()));
  files.set("schema/build.json", json(buildSchema()));
  const shown = await shownPasses();
  for (const p of passes) files.set(`docs/passes/${p.name}.md`, `${passPage(p)}\n\n${shown.get(p.name)!}\n`);
  for (const t of targets) files.set(`docs/targets/${t.id}.md`, `${targetPage(t)}\n`);
  files.set("docs/rules.md", `${rulesPage()}\n`);
  files.set("docs/codes.md", `${codesPage()}\n`);
  files.set("docs/cli.md", helpPage());
  files.set(
    "src/version.ts",
    `/** Version of this package. Written by \`npm run docs\` from package.json. */\nexport const VERSION = ${JSON.stringify(pkg.version)};\n`,
  );
  return files;
}

/** What the tree holds now; `null` when the file is missing. */
export function currentText(path: string): string | null {
  return existsSync(join(root, path)) ? readFileSync(join(root, path), "utf8") : null;
}

/** Pages in the generated folders that nothing generates any more. */
export function staleFiles(files: ReadonlyMap<string, string>): string[] {
  return ["docs/passes", "docs/targets"].flatMap((folder) => {
    let names: string[] = [];
    try {
      names = readdirSync(join(root, folder));
    } catch {
      return [];
    }
    return names.map((n) => `${folder}/${n}`).filter((path) => !files.has(path));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = await generatedFiles();
  const stale = staleFiles(files);
  if (process.argv.includes("--check")) {
    const differing = [...files].filter(([path, text]) => currentText(path) !== text).map(([path]) => path);
    for (const path of [...differing, ...stale]) console.error(`${path} is not what \`npm run docs\` writes`);
    process.exitCode = differing.length + stale.length > 0 ? 1 : 0;
  } else {
    for (const [path, text] of files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    for (const path of stale) rmSync(join(root, path));
  }
}
