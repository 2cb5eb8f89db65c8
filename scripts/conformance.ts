import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { createRuntime } from "../src/runtime/index.ts";
import { checkModel } from "./conformance/check.ts";
import { summary } from "./conformance/summary.ts";
import type { Verdict } from "./conformance/verdict.ts";

/*
 * npm run conformance -- DIR [--json FILE] [--filter TEXT]
 * Reads every *.onnx below DIR, round-trips it, infers its output types, loads original and rewritten in onnxruntime
 * and, where test_data_set_* folders lie beside it, compares outputs before and after the exact passes. Ends with 1
 * when anything is wrong.
 */

/** Seconds after which a model is named on stderr. */
const SLOW = 5;

function option(args: string[], name: string): string | undefined {
  const at = args.indexOf(name);
  if (at < 0) return undefined;
  const [, value] = args.splice(at, 2);
  return value;
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const json = option(args, "--json");
  const filter = option(args, "--filter") ?? "";
  const [root, ...rest] = args;
  if (root === undefined || rest.length > 0) {
    process.stderr.write("usage: npm run conformance -- DIR [--json FILE] [--filter TEXT]\n");
    return 2;
  }
  const files = readdirSync(root, { recursive: true })
    .map(String)
    .filter((f) => f.endsWith(".onnx") && f.includes(filter))
    .sort();
  const scratch = mkdtempSync(join(tmpdir(), "diffpress-conformance-"));
  const runtime = await createRuntime({ workers: 0 });
  const verdicts: Verdict[] = [];
  try {
    for (const [i, f] of files.entries()) {
      const file = join(root, f);
      const start = performance.now();
      const verdict = await checkModel(file, dirname(file), scratch, runtime);
      verdicts.push({ ...verdict, file: relative(root, file) });
      const seconds = (performance.now() - start) / 1000;
      if (seconds > SLOW) process.stderr.write(`${f}: ${seconds.toFixed(1)} s\n`);
      if (process.stderr.isTTY) process.stderr.write(`\r${i + 1}/${files.length}`);
    }
  } finally {
    await runtime.close();
    rmSync(scratch, { recursive: true, force: true });
  }
  if (process.stderr.isTTY) process.stderr.write("\r");
  process.stdout.write(summary(verdicts));
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(verdicts, null, 1)}\n`);
  return files.length > 0 && verdicts.every((v) => v.wrong.length === 0) ? 0 : 1;
}

process.exitCode = await main();
