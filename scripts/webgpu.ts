/**
 * Runs builds for target webgpu on onnxruntime's WebGPU provider, on a Vulkan driver that runs on the processor:
 *
 *     npm run webgpu            # every check
 *     npm run webgpu -- dit     # those whose name contains "dit"
 *
 * Sessions may not fall back to the CPU. Each build is compared with itself on the CPU provider, call by call of a short
 * trajectory; models with a planted overflow show that half precision really is half there, and that fp32 islands repair
 * it. Exit code 1: a check failed; 77: no software Vulkan on this machine, nothing was checked.
 */
import { fileURLToPath } from "node:url";
import { skipUnavailable } from "./software/unpack.ts";
import { softwareVulkan } from "./software/vulkan.ts";
import type { Row } from "./webgpu/builds.ts";
import type { OperatorRow } from "./webgpu/operators.ts";
import type { OverflowRow } from "./webgpu/overflow.ts";
import { ENOUGH_DB, type Found, runWebgpu, WRONG_DB } from "./webgpu/run.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** What a check says: whether it passed, and the line about it. */
type Verdict = readonly [good: boolean, text: string];

const shown = (db: number | null): string => (db === null ? "not finite" : `${db.toFixed(1)} dB`);

function verdictOnBuild(row: Row): Verdict {
  if (row.error !== null) return [false, `${row.name}: ${row.error}`];
  return [
    row.whole >= ENOUGH_DB,
    `${row.name}: ${row.calls} calls, ${shown(row.whole)}, worst call ${shown(row.worst)}, sampled freely ` +
      `${shown(row.sample)}; ${row.packed} MatMulNBits; first call ${row.firstSeconds.toFixed(1)} s, then ` +
      `${row.nextSeconds.toFixed(1)} s`,
  ];
}

/** An overflow has to show without islands, or the run would not prove that islands repair it. */
function verdictOnOverflow(row: OverflowRow): Verdict {
  const shows = row.plain === null || row.plain < WRONG_DB;
  const repaired = row.islands !== null && row.islands >= ENOUGH_DB;
  return [
    shows && repaired,
    `${row.name} (peak ${row.peak.toFixed(0)}, optimisation ${row.optimize}): fp16 ${shown(row.plain)}, ` +
      `with ${row.kept} nodes in fp32 ${shown(row.islands)}`,
  ];
}

/** Claims of the target's descriptor. One that no longer holds is a failure in either direction. */
function verdictOnOperator({ name, dtype, db, claim }: OperatorRow): Verdict {
  const good = "atLeast" in claim ? db >= claim.atLeast : db < claim.below;
  const wanted = "atLeast" in claim ? `at least ${claim.atLeast}` : `known to be off, below ${claim.below}`;
  return [good, `${name} in ${dtype}: ${shown(db)} (${wanted})`];
}

function verdictOn(found: Found): Verdict {
  if ("overflow" in found) return verdictOnOverflow(found.overflow);
  return "operator" in found ? verdictOnOperator(found.operator) : verdictOnBuild(found);
}

const vulkan = skipUnavailable("software Vulkan", () => softwareVulkan(ROOT));
const counts = { passed: 0, failed: 0 };
await runWebgpu({
  wanted: process.argv[2] ?? "",
  vulkan,
  say,
  onFound: (found) => {
    const [good, text] = verdictOn(found);
    counts[good ? "passed" : "failed"]++;
    say(`${good ? "ok    " : "FAILED"} ${text}`);
  },
});
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 ? 0 : 1;
