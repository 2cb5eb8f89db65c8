import { DiffpressError } from "../diagnostics/index.ts";
import type { Derivation } from "../ir/tensor.ts";
import { evaluate } from "./evaluate.ts";
import { moved, type WorkerReply } from "./transfer.ts";

/** Entry of a worker thread: evaluates one derivation and moves the outputs to the caller. */
export async function work(derivation: Derivation): Promise<unknown> {
  try {
    return moved({ ok: true, outputs: await evaluate(derivation) });
  } catch (e) {
    // Only plain data survives the way to another thread; the pool rethrows coded errors from it.
    if (e instanceof DiffpressError) {
      return { ok: false, code: e.code, details: e.diagnostic.details } satisfies WorkerReply;
    }
    throw e;
  }
}
