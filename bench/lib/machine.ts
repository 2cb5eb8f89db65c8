import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, freemem, loadavg, totalmem } from "node:os";

/** Instruction sets that change which kernels onnxruntime picks. */
const ISA = [
  "avx2",
  "fma",
  "avx512f",
  "avx512_vnni",
  "avx512_bf16",
  "avx_vnni",
  "amx_int8",
  "neon",
  "asimd",
  "sve",
];

/** Where the figures come from. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly isa: readonly string[];
  readonly memoryGiB: number;
  readonly node: string;
  readonly onnxruntime: string;
}

/** Load averages and free memory, read just before and after a case. */
export interface Load {
  readonly load1: number;
  readonly freeGiB: number;
}

function linux(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Describes this machine; on systems without procfs the instruction sets stay empty. */
export function machine(): Machine {
  const flags = new Set(
    /^(?:flags|Features)\s*:\s*(.*)$/m.exec(linux("/proc/cpuinfo"))?.[1]?.split(" ") ?? [],
  );
  const ort = createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string };
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    isa: ISA.filter((f) => flags.has(f)),
    memoryGiB: totalmem() / 2 ** 30,
    node: process.version,
    onnxruntime: ort.version,
  };
}

/** Bytes that can be had without swapping. */
export function availableMemory(): number {
  const kib = /^MemAvailable:\s*(\d+)/m.exec(linux("/proc/meminfo"))?.[1];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

/** The load right now. */
export function load(): Load {
  return { load1: loadavg()[0] ?? 0, freeGiB: availableMemory() / 2 ** 30 };
}
