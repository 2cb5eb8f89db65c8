// Writes everything that is generated from declarations: docs pages, JSON schemas, the version. A test fails when the
// tree differs from what this writes.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { helpPage } from "../cli/help.ts";
import {
  codesPage,
  passes,
  passPage,
  recipeSchema,
  reportSchema,
  targetPage,
  targets,
} from "../src/index.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Path below the repository root to content, for every generated file. */
export function generatedFiles(): Map<string, string> {
  const pkg = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const files = new Map<string, string>();
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  files.set("schema/recipe.json", json(recipeSchema()));
  files.set("schema/report.json", json(reportSchema()));
  for (const p of passes) files.set(`docs/passes/${p.name}.md`, `${passPage(p)}\n`);
  for (const t of targets) files.set(`docs/targets/${t.id}.md`, `${targetPage(t)}\n`);
  files.set("docs/codes.md", `${codesPage()}\n`);
  files.set("docs/cli.md", helpPage());
  files.set(
    "src/version.ts",
    `/** Version of this package. Written by \`npm run docs\` from package.json. */\nexport const VERSION = ${JSON.stringify(pkg.version)};\n`,
  );
  return files;
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
  const files = generatedFiles();
  for (const [path, text] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  for (const path of staleFiles(files)) rmSync(join(root, path));
}
