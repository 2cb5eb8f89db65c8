// Preloaded into a measured process: writes peak resident bytes and processor seconds to DIFFPRESS_BENCH_RSS
// when it exits.
import { readFileSync, writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const file = process.env.DIFFPRESS_BENCH_RSS;
if (isMainThread && file !== undefined) {
  process.on("exit", () => {
    let peak = process.resourceUsage().maxRSS * 1024;
    try {
      const line = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
      if (line !== null) peak = Number(line[1]) * 1024;
    } catch {
      // Not Linux: maxRSS stands.
    }
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    writeFileSync(file, JSON.stringify({ peak, cpu: (userCPUTime + systemCPUTime) / 1e6 }));
  });
}
