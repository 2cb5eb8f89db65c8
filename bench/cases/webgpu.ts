import { softwareVulkan } from "../../scripts/software/vulkan.ts";
import { ENOUGH_DB, type Found, runWebgpu, WRONG_DB } from "../../scripts/webgpu/run.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { ROOT } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";

/** What is not finite says as little as zeros do. */
const decibel = (db: number | null): number => db ?? 0;

function rowsOf(found: readonly Found[]): Cell[][] {
  return found.map((f) => {
    if ("overflow" in f) {
      const { name, optimize, plain, islands, kept } = f.overflow;
      const what = `planted overflow, optimisation ${optimize}: ${name}`;
      return [what, "–", islands ?? "not finite", "–", "–", plain ?? "not finite", kept];
    }
    if ("operator" in f) {
      const { name, dtype, db } = f.operator;
      return [`operator in ${dtype}: ${name}`, 1, db, "–", "–", "–", "–"];
    }
    return [f.name, f.calls, f.whole, f.worst, f.sample, "–", "–"];
  });
}

function checksOf(found: readonly Found[]): Check[] {
  const least = (name: string, value: number, limit: number): Check => ({
    name,
    value,
    relation: ">=",
    limit,
    unit: "dB",
  });
  const most = (name: string, value: number, limit: number): Check => ({
    ...least(name, value, limit),
    relation: "<=",
  });
  return found.flatMap((f): Check[] => {
    if ("overflow" in f) {
      const name = `planted overflow, optimisation ${f.overflow.optimize}, ${f.overflow.name}`;
      return [
        most(`${name}: fp16 without islands`, decibel(f.overflow.plain), WRONG_DB),
        least(`${name}: with islands`, decibel(f.overflow.islands), ENOUGH_DB),
      ];
    }
    if ("operator" in f) {
      const { name, dtype, db, claim } = f.operator;
      return "atLeast" in claim
        ? [least(`${name} in ${dtype}`, db, claim.atLeast)]
        : [most(`${name} in ${dtype}, known to be off`, db, claim.below)];
    }
    if (f.error !== null) throw new Error(`${f.name}: ${f.error}`);
    return [least(`${f.name}, all calls`, f.whole, ENOUGH_DB)];
  });
}

/** Builds for WebGPU where WebGPU runs, against themselves on the CPU provider. */
export const webgpuCase: BenchCase = {
  name: "webgpu",
  title: "WebGPU builds on a software Vulkan driver",
  needs: ["cifar-dit"],
  async run({ say }) {
    const vulkan = softwareVulkan(ROOT);
    const found: Found[] = [];
    await runWebgpu({ wanted: "", vulkan, say, onFound: (f) => void found.push(f) });
    return {
      columns: ["what", "calls", "dB", "worst call", "sampled freely", "without islands", "nodes in fp32"],
      rows: rowsOf(found),
      checks: checksOf(found),
      commands: ["npm run webgpu"],
      notes: [
        `lavapipe of Mesa ${vulkan.mesa}, fallback to the CPU provider disabled; dB of the same file on the CPU provider, whose half precision rounds tensors but sums in fp32.`,
        "A result that is not finite counts as 0 dB.",
        "Sums in half precision are what separates the two: 4-bit builds, which compute in fp32, agree beyond 100 dB.",
      ],
    };
  },
};
