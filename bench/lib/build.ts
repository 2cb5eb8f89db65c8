import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Recipe, Report } from "../../src/index.ts";
import { modelFile } from "../../src/runtime/index.ts";
import { diffpress, type Measured } from "./child.ts";
import type { Dims } from "./feeds.ts";

/** A run of `diffpress compile`. */
export interface Compiled {
  readonly measured: Measured;
  readonly out: string;
  readonly command: string;
}

/** One build made by the command line. */
export interface Build extends Compiled {
  /** The single model of the target, or the component asked for. */
  readonly model: string;
  readonly bytes: number;
}

/** Options of {@link build}. */
export interface BuildOptions {
  readonly source: string;
  readonly out: string;
  readonly preset?: string;
  /** Recipe file, relative to the repository, or a recipe that is written beside the build. */
  readonly recipe?: string | Recipe;
  readonly shape?: Dims;
  /** Default `cpu-x64`. */
  readonly target?: string;
  /** Run the build beside the original, whatever its size; otherwise nothing is sampled but what passes ask for. */
  readonly verify?: boolean;
  /** Component folder of a pipeline; absent for a single model. */
  readonly component?: string;
  readonly extra?: readonly string[];
}

function folderBytes(path: string): number {
  let sum = 0;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const at = join(path, entry.name);
    sum += entry.isDirectory() ? folderBytes(at) : statSync(at).size;
  }
  return sum;
}

/** `--shape` as the command line takes it. */
function shapeOption(dims: Dims): string {
  return Object.entries(dims)
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
}

/** Path of the recipe; one given as an object is written first, where a build leaves it alone. */
function recipeFile(o: BuildOptions): string | undefined {
  if (o.recipe === undefined || typeof o.recipe === "string") return o.recipe;
  const path = `${o.out}.recipe.json`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(o.recipe, null, 2)}\n`);
  return path;
}

/** What the build is made by: a preset, a recipe, or a recipe over a preset. */
function choice(o: BuildOptions, recipe: string | undefined): string[] {
  return [
    ...(o.preset === undefined ? [] : ["--preset", o.preset]),
    ...(recipe === undefined ? [] : ["--recipe", recipe]),
  ];
}

const targetOf = (o: BuildOptions): string => o.target ?? "cpu-x64";
const verification = (o: BuildOptions): string => (o.verify === true ? "--verify" : "--no-verify");

/** Compiles for one target or several, without sampling unless asked. */
export async function compileWith(o: BuildOptions): Promise<Compiled> {
  const args = ["compile", o.source, ...choice(o, recipeFile(o)), "--target", targetOf(o), verification(o)];
  if (o.shape !== undefined) args.push("--shape", shapeOption(o.shape));
  args.push(...(o.extra ?? []), "-o", o.out);
  return { measured: await diffpress(args), out: o.out, command: shownCommand(o) };
}

/** The report beside the builds in a folder. */
export function reportIn(out: string): Report {
  return JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as Report;
}

/** Compiles for one target and looks at what it made. */
export async function build(o: BuildOptions): Promise<Build> {
  const compiled = await compileWith(o);
  const target = join(o.out, targetOf(o));
  return { ...compiled, model: modelFile(join(target, o.component ?? "")), bytes: folderBytes(target) };
}

function shownCommand(o: BuildOptions): string {
  const source = o.source.split("/").slice(-1)[0];
  const shape = o.shape === undefined ? "" : ` --shape ${shapeOption(o.shape)}`;
  const shown = typeof o.recipe === "object" ? `<(echo '${JSON.stringify(o.recipe)}')` : o.recipe;
  const extra = o.extra === undefined ? "" : ` ${o.extra.join(" ")}`;
  return `diffpress compile ${source} ${choice(o, shown).join(" ")} --target ${targetOf(o)} ${verification(o)}${shape}${extra} -o OUT`;
}

/** Every file of a build, relative path and bytes, for byte comparison. */
export function files(out: string, below = ""): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const entry of readdirSync(join(out, below), { withFileTypes: true })) {
    const at = join(below, entry.name);
    if (entry.isDirectory()) for (const [k, v] of files(out, at)) found.set(k, v);
    else found.set(at, readFileSync(join(out, at)));
  }
  return found;
}
