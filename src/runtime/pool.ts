import { fileURLToPath } from "node:url";
import type { Tinypool } from "tinypool";
import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Derivation } from "../ir/tensor.ts";
import { evaluate } from "./evaluate.ts";
import { packDerivation, type WorkerReply } from "./transfer.ts";

/** Evaluates derivations, in threads or here. */
export interface Pool {
  readonly workers: number;
  evaluate(d: Derivation): Promise<readonly Dense[]>;
  close(): Promise<void>;
}

/** Idle threads end after this many milliseconds: long enough to bridge the gaps between passes. */
const IDLE_MS = 10_000;

/** The worker's file: compiled, or through a loader when the project runs from its TypeScript sources. */
function entry(): string {
  const file = import.meta.url.endsWith(".ts") ? "./worker-from-source.mjs" : "./worker.js";
  return fileURLToPath(new URL(file, import.meta.url));
}

/** A pool of `workers` threads; they start with the first derivation. 0 evaluates in the calling thread. */
export function createPool(workers: number): Pool {
  if (workers === 0) return { workers, evaluate, close: async () => {} };
  let started: Promise<Tinypool> | null = null;
  const start = async (): Promise<Tinypool> => {
    const { Tinypool } = await import("tinypool");
    return new Tinypool({
      filename: entry(),
      name: "work",
      runtime: "worker_threads",
      minThreads: 0,
      maxThreads: workers,
      concurrentTasksPerWorker: 1,
      idleTimeout: IDLE_MS,
      // Without this the threads would sleep in Atomics.wait and keep the process alive.
      useAtomics: false,
    });
  };
  return {
    workers,
    async evaluate(d) {
      const pool = await (started ??= start());
      const { task, transfer } = packDerivation(d);
      const reply = (await pool.run(task, { transferList: transfer })) as WorkerReply;
      if (!reply.ok) fail(reply.code, reply.details as never);
      return reply.outputs;
    },
    async close() {
      const pool = await started;
      started = null;
      await pool?.destroy();
    },
  };
}
