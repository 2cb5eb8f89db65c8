import { DiffpressError } from "../../../src/diagnostics/index.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import {
  describeEnvironment,
  optimizedOps,
  type Runtime,
  type SessionOptions,
} from "../../../src/runtime/index.ts";

/** A runtime with the questions proofs ask. */
export interface Lab {
  /** Why the model is refused when it is loaded or run; `null` when it is not. */
  refusal(model: Model): Promise<string | null>;
  /** Operators of the graph the session runs. */
  ops(model: Model): Promise<ReadonlyMap<string, number>>;
  /** The output for the input of {@link feed}. */
  run(
    model: Model,
    optimize: "all" | "disable",
    config?: SessionOptions["config"],
  ): Promise<readonly number[]>;
  /** The one input every proof uses, a wave of the input's length. */
  feed(model: Model): Promise<readonly number[]>;
  /** The processor adds products of bytes in 32 bits. */
  readonly dotProducts: boolean;
}

/** What a rule accepts and rejects, and how that shows. */
export interface MiniRule {
  /** Target the rule is checked on. */
  readonly target: string;
  readonly accept: () => Model;
  readonly reject: readonly (() => Model)[];
  /** Values the check knows over a trajectory. */
  readonly ranges?: ReadonlyMap<string, number>;
  /** Shows with the runtime that the rejected graph has the fault and the accepted one does not. */
  readonly proof?: (lab: Lab, graphs: { readonly accept: Model; readonly reject: Model }) => Promise<void>;
}

/** Signal to error in dB; infinite where they agree. */
export function sqnrOf(reference: readonly number[], found: readonly number[]): number {
  let [signal, error] = [0, 0];
  for (const [i, r] of reference.entries()) {
    signal += r * r;
    error += (r - found[i]!) ** 2;
  }
  return error === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / error);
}

function wave(model: Model): Dense {
  const type = model.graph.value(model.graph.inputs[0]!).type;
  const dims = type?.kind === "tensor" ? (type.shape as readonly number[]) : [];
  const count = dims.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: count }, (_, i) => 2 * Math.abs(Math.sin(1.7 * i + 0.3)) + 0.1);
  return { dtype: "f32", dims, bytes: new Uint8Array(data.buffer) };
}

const numbers = ({ bytes }: Dense): number[] => [...new Float32Array(bytes.slice().buffer)];

/** Opens a lab on a runtime. */
export async function openLab(runtime: Runtime): Promise<Lab> {
  const { instructionSets } = await describeEnvironment();
  const run: Lab["run"] = async (model, optimize, config = {}) => {
    const session = await runtime.openSession(model, { optimize, config });
    try {
      const name = model.graph.value(model.graph.inputs[0]!).name;
      return numbers((await session.run(new Map([[name, wave(model)]]))).get("y")!);
    } finally {
      await session.release();
    }
  };
  return {
    run,
    feed: async (model) => numbers(wave(model)),
    ops: (model) => optimizedOps(runtime, model),
    refusal: async (model) => {
      try {
        await run(model, "all");
        return null;
      } catch (e) {
        if (e instanceof DiffpressError && e.code === "RUNTIME_REJECTED") return e.message;
        throw e;
      }
    },
    dotProducts: instructionSets.some((f) => ["avx512_vnni", "avx_vnni", "amx_int8"].includes(f)),
  };
}
