import { readFile } from "node:fs/promises";
import { arch, cpus, platform, release, totalmem } from "node:os";
import { runtimeVersion } from "./ort.ts";

/** Where a result was computed: what may change timings, or the last bits of sums. */
export interface Environment {
  readonly platform: string;
  readonly arch: string;
  readonly os: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Instruction sets that choose other kernels in the runtime, sorted; empty where the system does not tell. */
  readonly instructionSets: readonly string[];
  readonly node: string;
  readonly onnxruntime: string;
}

/** Flags of /proc/cpuinfo (x86 and arm64 names) that onnxruntime's math library looks at. */
const RELEVANT = [
  "amx_bf16",
  "amx_int8",
  "asimddp",
  "asimdhp",
  "avx",
  "avx2",
  "avx512_bf16",
  "avx512_fp16",
  "avx512_vnni",
  "avx512bw",
  "avx512f",
  "avx_vnni",
  "avx_vnni_int8",
  "bf16",
  "f16c",
  "fma",
  "i8mm",
  "sse4_1",
  "sve",
  "sve2",
];

/** The relevant instruction sets in a text like /proc/cpuinfo. */
export function instructionSets(cpuinfo: string): readonly string[] {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "";
  const flags = new Set(line.trim().split(/\s+/));
  return RELEVANT.filter((f) => flags.has(f));
}

/** Describes this machine and the versions in use. */
export async function describeEnvironment(): Promise<Environment> {
  const [cpuinfo, onnxruntime] = await Promise.all([
    readFile("/proc/cpuinfo", "utf8").catch(() => ""),
    runtimeVersion(),
  ]);
  const all = cpus();
  return {
    platform: platform(),
    arch: arch(),
    os: release(),
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
    memoryBytes: totalmem(),
    instructionSets: instructionSets(cpuinfo),
    node: process.versions.node,
    onnxruntime,
  };
}
