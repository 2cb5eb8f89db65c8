import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import { type Derivation, type Tensor, type TensorReader, tensorBytes } from "../ir/tensor.ts";
import type { ArtifactStore } from "./artifacts.ts";
import type { ByteBudget } from "./budget.ts";
import { leafBytes, outputBytes, peakBytes } from "./evaluate.ts";
import type { Hasher } from "./hash.ts";
import { describeType } from "./kernels/kernel.ts";
import type { Pool } from "./pool.ts";
import { MAX_BYTES } from "./ranges.ts";

/** Share of the budget in which outputs wait that were made together with one that was asked for. */
const WAITING_SHARE = 1 / 4;

/** What the reader did so far. */
export interface ReaderStats {
  /** Derivations evaluated. */
  evaluations: number;
  /** Derivations found in the artifact store. */
  artifactHits: number;
  /** Bytes read from model files by this thread (workers read their own). */
  fileBytes: number;
}

/** One evaluation that several readers share. Outputs leave when they have been read. */
interface Shared {
  readonly outputs: Promise<(Uint8Array | null)[]>;
  /** Readers on their way to each output. */
  readonly readers: Map<number, number>;
  /** Bytes of outputs that are there and unread; 0 while evaluating. */
  waiting: number;
}

/** Reads any tensor; see {@link TensorReader}. The bytes may be shared: callers must not write into them. */
export function createReader(parts: {
  readonly pool: Pool;
  readonly budget: ByteBudget;
  readonly hasher: Hasher;
  readonly artifacts: ArtifactStore | null;
  readonly stats: ReaderStats;
}): TensorReader {
  const { pool, budget, hasher, artifacts, stats } = parts;
  const live = new Map<Derivation, Shared>();

  async function make(d: Derivation): Promise<readonly Dense[]> {
    const key = artifacts === null ? null : await hasher.derivation(d);
    const stored = key === null ? null : await artifacts!.get(key, d.outputs);
    if (stored !== null) {
      stats.artifactHits++;
      return stored;
    }
    stats.evaluations++;
    const outputs = await pool.evaluate(d);
    if (key !== null) await artifacts!.put(key, outputs);
    return outputs;
  }

  function trim(): void {
    let waiting = 0;
    for (const s of live.values()) waiting += s.waiting;
    for (const [d, s] of live) {
      if (waiting <= budget.limit * WAITING_SHARE) return;
      if (s.waiting === 0 || s.readers.size > 0) continue;
      waiting -= s.waiting;
      live.delete(d);
    }
  }

  async function derived(t: Tensor, d: Derivation, output: number): Promise<Uint8Array> {
    let s = live.get(d);
    if (s === undefined) {
      const outputs = budget
        .run(demand(t), () => make(d))
        .then((made): (Uint8Array | null)[] => made.map((o) => o.bytes));
      s = { outputs, readers: new Map(), waiting: 0 };
      live.set(d, s);
      const own = s;
      outputs.then(
        () => {
          own.waiting = outputBytes(d);
        },
        () => live.delete(d),
      );
    }
    s.readers.set(output, (s.readers.get(output) ?? 0) + 1);
    let bytes: Uint8Array | null;
    try {
      const outputs = await s.outputs;
      bytes = outputs[output]!;
      const left = s.readers.get(output)! - 1;
      if (left > 0) s.readers.set(output, left);
      else {
        s.readers.delete(output);
        if (bytes !== null) s.waiting -= bytes.length;
        outputs[output] = null;
      }
      if (s.readers.size === 0 && outputs.every((o) => o === null) && live.get(d) === s) live.delete(d);
    } finally {
      trim();
    }
    if (bytes !== null) return bytes;
    // Read before by somebody else: make it again.
    if (live.get(d) === s) live.delete(d);
    return await derived(t, d, output);
  }

  function demand(t: Tensor): number {
    const bytes = peakBytes(t);
    const limit = Math.min(budget.limit, tensorBytes(t) > MAX_BYTES ? MAX_BYTES : budget.limit);
    if (bytes > limit) fail("TENSOR_TOO_LARGE", { tensor: describeType(t), bytes, limit });
    return bytes;
  }

  return {
    async read(t) {
      const s = t.source;
      if (s.kind === "derived") return await derived(t, s.derivation, s.output);
      if (s.kind !== "file") return await leafBytes(t);
      stats.fileBytes += s.length;
      return await budget.run(demand(t), () => leafBytes(t));
    },
    admit(t) {
      // Ranges of files are copied piece by piece where they are only written.
      if (t.source.kind === "derived") demand(t);
    },
  };
}
