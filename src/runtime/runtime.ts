import { availableParallelism } from "node:os";
import type { Evaluator } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import type { Tensor, TensorReader } from "../ir/tensor.ts";
import { openArtifacts } from "./artifacts.ts";
import { byteBudget } from "./budget.ts";
import { createEvaluator } from "./evaluator.ts";
import { createHasher, sha256 } from "./hash.ts";
import { openModel } from "./open.ts";
import { createPool } from "./pool.ts";
import { createReader, type ReaderStats } from "./reader.ts";
import type { Session, SessionOptions } from "./session.ts";

/** How a runtime is made. */
export interface RuntimeOptions {
  /** Threads that evaluate derivations; 0 evaluates in the calling thread. Default: the number of cores. */
  readonly workers?: number;
  /** Bytes that may be in flight while tensors are made, the largest tensor included. Default: 1 GiB. */
  readonly maxMemory?: number;
  /** Folder of the artifact store; `null` (the default) keeps nothing between runs. */
  readonly cacheDir?: string | null;
  /** Bytes the artifact store may hold. Default: 10 GiB. */
  readonly cacheLimit?: number;
}

/** What a runtime did so far. */
export interface RuntimeStats extends Readonly<ReaderStats> {
  /** Most bytes that were admitted at once under the memory budget. */
  readonly peakBytes: number;
  readonly workers: number;
}

/** Everything that makes bytes: tensors, derivations, model runs. One per compilation; close it when done. */
export interface Runtime {
  /** Runs small models exactly as written; what folding uses. */
  readonly evaluator: Evaluator;
  /** Bytes of any tensor. They may be shared with others: do not write into them. */
  readonly reader: TensorReader;
  /** Loads a model: a path, its bytes, or a model of ours (derived weights included). Release it when done. */
  openSession(source: string | Uint8Array | Model, options?: SessionOptions): Promise<Session>;
  /** sha256 (hex) of the bytes of any tensor. */
  hash(tensor: Tensor): Promise<string>;
  readonly stats: RuntimeStats;
  close(): Promise<void>;
}

const GIB = 2 ** 30;

/** Starts a runtime. Threads and the native library start with their first use. */
export async function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const workers = options.workers ?? availableParallelism();
  const limit = options.maxMemory ?? GIB;
  const budget = byteBudget(limit);
  const pool = createPool(workers);
  const hasher = createHasher();
  const stats: ReaderStats = { evaluations: 0, artifactHits: 0, fileBytes: 0 };
  const artifacts =
    options.cacheDir === undefined || options.cacheDir === null
      ? null
      : await openArtifacts(options.cacheDir, options.cacheLimit ?? 10 * GIB);
  const reader = createReader({ pool, budget, hasher, artifacts, stats });
  return {
    evaluator: createEvaluator(reader),
    reader,
    openSession: (source, sessionOptions) => openModel(source, reader, sessionOptions),
    hash: async (t) => (t.source.kind === "derived" ? sha256(await reader.read(t)) : await hasher.leaf(t)),
    get stats() {
      return { ...stats, peakBytes: budget.peak, workers };
    },
    close: () => pool.close(),
  };
}
