import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { targets } from "../src/targets/index.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Folders of `src`, lowest first. A file imports from its own layer's folders or from lower layers only. */
const LAYERS: readonly (readonly string[])[] = [
  ["diagnostics", "numeric", "version.ts"],
  ["ir"],
  ["runtime"],
  ["calibrate"],
  ["verify"],
  ["passes", "targets"],
  ["report", "inspect"],
  ["compile"],
  ["index.ts"],
  ["cli"],
];

/** Folders allowed to touch the file system: readers and writers of models, artifacts, pipelines and results. */
const FILE_SYSTEM = ["src/ir/onnx/", "src/runtime/", "src/calibrate/", "src/compile/", "cli/"];

/** Lines a source file may have. */
const MAX_LINES = 400;

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((e) => e.isFile() && /\.(ts|mjs)$/.test(e.name))
    .map((e) => relative(ROOT, join(e.parentPath, e.name)).replaceAll("\\", "/"))
    .sort();
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** Specifiers a file imports or re-exports, statically or by `import(...)`; type-only ones count too. */
function imports(text: string): string[] {
  const found: string[] = [];
  for (const m of text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)) found.push(m[1]!);
  return found;
}

/** Text without comments and string contents, so that prose does not trip rules about code. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""');
}

function layerOf(file: string): number {
  const parts = file.split("/");
  const folder = parts[0] === "cli" ? "cli" : parts[1]!;
  return LAYERS.findIndex((l) => l.includes(folder));
}

const sources = filesBelow("src");
const program = filesBelow("cli");
const tests = filesBelow("test");

describe("layers", () => {
  it("finds the sources and gives each a layer", () => {
    expect(sources.length).toBeGreaterThan(20);
    expect([...sources, ...program].filter((f) => layerOf(f) < 0)).toEqual([]);
  });

  it("imports point downwards", () => {
    const wrong: string[] = [];
    for (const file of [...sources, ...program]) {
      for (const target of imports(read(file))) {
        if (!target.startsWith(".")) continue;
        const path = relative(ROOT, resolve(ROOT, dirname(file), target)).replaceAll("\\", "/");
        if (path === "package.json" || path.startsWith("schema/")) continue;
        // A pass may ask a target's capabilities and a target may name passes, by type only; both are one layer.
        if (layerOf(path) < 0 || layerOf(path) > layerOf(file)) wrong.push(`${file} imports ${path}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("numeric imports nothing of ours and diagnostics imports no layer", () => {
    const wrong = sources
      .filter((f) => /^src\/(numeric|diagnostics)\//.test(f))
      .flatMap((f) =>
        imports(read(f))
          .filter((t) => t.startsWith("..") && !resolve(ROOT, dirname(f), t).includes(`${f.split("/")[1]}`))
          .map((t) => `${f} imports ${t}`),
      );
    expect(wrong).toEqual([]);
  });

  it("the command line reaches the sources through src/index.ts only", () => {
    const wrong = program.flatMap((f) =>
      imports(read(f))
        .map((t) => (t.startsWith(".") ? relative(ROOT, resolve(ROOT, dirname(f), t)) : ""))
        .filter((t) => t.startsWith("src/") && t !== "src/index.ts")
        .map((t) => `${f} imports ${t}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe("rules for source files", () => {
  it("only readers, writers and the command line touch the file system", () => {
    const wrong = sources
      .filter((f) => !FILE_SYSTEM.some((folder) => f.startsWith(folder)))
      .filter((f) => imports(read(f)).some((t) => /^(node:)?fs(\/promises)?$/.test(t)));
    expect(wrong).toEqual([]);
  });

  it("nothing is called utils", () => {
    const everything = [...sources, ...program, ...tests, ...filesBelow("bench"), ...filesBelow("fixtures")];
    expect(everything.filter((f) => /(^|\/)(utils?|helpers?|misc|common)(\/|\.)/.test(f))).toEqual([]);
  });

  it("uses no clock, no global randomness and no locale", () => {
    const forbidden =
      /\bMath\.random\b|\bDate\.now\b|\bnew Date\b|\bperformance\.now\b|\.toLocale\w+\(|\blocaleCompare\b|\bIntl\./;
    const wrong = sources.filter((f) => forbidden.test(code(read(f))));
    expect(wrong).toEqual([]);
  });

  it("has no any, no ignored type errors and no default exports", () => {
    const all = [...sources, ...program];
    expect(all.filter((f) => /(?::|\bas|<)\s*any\b(?!\w)/.test(code(read(f))))).toEqual([]);
    expect(all.filter((f) => /@ts-(ignore|nocheck|expect-error)/.test(read(f)))).toEqual([]);
    expect(all.filter((f) => /^export default\b/m.test(code(read(f))))).toEqual([]);
  });

  it("leaves nothing for later", () => {
    const all = [...sources, ...program];
    expect(all.filter((f) => /\b(TODO|FIXME|XXX|HACK)\b/.test(read(f)))).toEqual([]);
  });

  it(`keeps files below ${MAX_LINES} lines`, () => {
    const long = [...sources, ...program]
      .map((f) => ({ file: f, lines: read(f).split("\n").length }))
      .filter((f) => f.lines > MAX_LINES);
    expect(long).toEqual([]);
  });
});

describe("rules for passes", () => {
  it("only families that build for a target ask it anything", () => {
    const wrong = sources
      .filter((f) => /^src\/passes\/(clean|fuse|freeze|prune|sparsify|share)\//.test(f))
      .filter((f) => /\bctx\.target\b|\bpass\.target\b/.test(code(read(f))));
    expect(wrong).toEqual([]);
  });

  it("no pass, lowering or rule compares target ids", () => {
    const named = new RegExp(`target\\??\\.id\\s*[!=]==?|"(${targets.map((t) => t.id).join("|")})[":]`);
    expect(named.test('target.id === "cuda"')).toBe(true);
    const wrong = sources
      .filter((f) => /^src\/(passes|targets\/(check|lower))\//.test(f))
      .filter((f) => named.test(read(f)));
    expect(wrong).toEqual([]);
  });
});

describe("rules for tests", () => {
  it("none is skipped or singled out", () => {
    const forbidden =
      /\b(?:it|test|describe)\s*\.\s*(?:skip|only|todo|skipIf|runIf|fails)\b|\bx(?:it|describe)\s*\(/;
    const wrong = tests.filter((f) => f !== "test/architecture.test.ts" && forbidden.test(code(read(f))));
    expect(wrong).toEqual([]);
  });

  it("reads nothing outside the project", () => {
    const wrong = tests.filter((f) => f !== "test/architecture.test.ts" && /\.\.\/shared\b/.test(read(f)));
    expect(wrong).toEqual([]);
  });

  it("every test has an expectation", () => {
    const wrong = tests.filter(
      (f) => f.endsWith(".test.ts") && !/\bexpect\b|\bassert\b|toFail|expectTypeOf/.test(read(f)),
    );
    expect(wrong).toEqual([]);
  });
});
