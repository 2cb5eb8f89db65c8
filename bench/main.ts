import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { cases } from "./cases/index.ts";
import { type BenchCase, type BenchContext, met } from "./lib/case.ts";
import { ROOT } from "./lib/child.ts";
import { availableMemory, load, machine } from "./lib/machine.ts";
import { checkLine, draw, record, renderPage } from "./lib/results.ts";
import { openScratch } from "./lib/scratch.ts";
import { table } from "./lib/table.ts";

const HELP = `npm run bench -- [options]
  --models DIR     trained pipelines and skeletons (default ../shared/models)
  --only a,b       these cases: ${cases.map((c) => c.name).join(", ")}
  --all            also the cases that take tens of gigabytes
  --scratch DIR    where filled skeletons and builds go (default: a folder in the system's temporary folder)
  --keep           leave the scratch folder for the next run
  --list           names and titles
Results go to bench/results/<case>.json and bench/RESULTS.md. Exit code 3: a figure missed its limit.`;

const { values: args } = parseArgs({
  options: {
    models: { type: "string", default: join(ROOT, "../shared/models") },
    only: { type: "string" },
    all: { type: "boolean", default: false },
    scratch: { type: "string", default: join(tmpdir(), "diffpress-bench") },
    keep: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** Why a case cannot run here, or `null`. */
function obstacle(c: BenchCase, context: BenchContext): string | null {
  const missing = c.needs.filter((n) => !existsSync(join(context.models, n)));
  if (missing.length > 0) return `${missing.join(", ")} not found in ${context.models}; pass --models DIR`;
  const disk = context.scratch.freeBytes();
  if (c.disk !== undefined && disk < c.disk)
    return `needs ${(c.disk / 1e9).toFixed(0)} GB of disk, ${(disk / 1e9).toFixed(0)} GB are free`;
  const memory = availableMemory();
  if (c.memory !== undefined && memory < c.memory)
    return `needs ${(c.memory / 1e9).toFixed(0)} GB of memory, ${(memory / 1e9).toFixed(0)} GB are free`;
  return null;
}

async function runCase(c: BenchCase, context: BenchContext): Promise<number> {
  const before = load();
  const start = performance.now();
  const result = await c.run({ ...context, say: (text) => say(`  ${c.name}: ${text}`) });
  const seconds = (performance.now() - start) / 1000;
  const date = new Date().toISOString();
  record({
    name: c.name,
    title: c.title,
    date,
    machine: machine(),
    load: { before, after: load() },
    seconds,
    ...result,
  });
  await draw({ name: c.name, ...result });
  console.log(`\n## ${c.title} (${c.name})\n\n${table(result.columns, result.rows)}\n`);
  for (const check of result.checks) console.log(`- ${checkLine(check)}`);
  return result.checks.filter((check) => !met(check)).length;
}

async function main(): Promise<number> {
  if (args.help) {
    console.log(HELP);
    return 0;
  }
  if (args.list) {
    console.log(
      table(
        ["case", "title"],
        cases.map((c) => [c.name, c.title]),
      ),
    );
    return 0;
  }
  const only = args.only?.split(",");
  const unknown = only?.filter((n) => !cases.some((c) => c.name === n)) ?? [];
  if (unknown.length > 0) {
    say(`no case called ${unknown.join(", ")}\n${HELP}`);
    return 2;
  }
  const models = resolve(args.models);
  if (!existsSync(models)) {
    say(`there is no folder ${models}: pass --models DIR with the trained pipelines and skeletons`);
    return 1;
  }
  const scratch = openScratch(resolve(args.scratch), models, args.keep);
  const context: BenchContext = { models, scratch, say };
  let missed = 0;
  let broken = 0;
  try {
    for (const c of cases) {
      if (only === undefined ? c.large === true && !args.all : !only.includes(c.name)) continue;
      const why = obstacle(c, context);
      if (why !== null) {
        say(`${c.name}: left out, ${why}`);
        broken++;
        continue;
      }
      try {
        missed += await runCase(c, context);
      } catch (cause) {
        broken++;
        say(`${c.name}: failed, ${cause instanceof Error ? cause.message : String(cause)}`);
      }
    }
  } finally {
    scratch.close();
  }
  renderPage(cases.map((c) => c.name));
  if (broken > 0) return 1;
  return missed > 0 ? 3 : 0;
}

process.exitCode = await main();
