import { denseFrom, floats } from "../../src/calibrate/dense.ts";
import { guide } from "../../src/calibrate/guidance.ts";
import type { CallErrors, Oracle, OracleCall } from "../../src/calibrate/statistics/types.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import { elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model } from "../../src/ir/graph.ts";
import { ratioDb } from "../../src/numeric/energy.ts";
import { createRng, gaussian } from "../../src/numeric/rng.ts";
import type { Runtime } from "../../src/runtime/index.ts";

/** What a test oracle records: a model, and inputs that need not come from a trajectory. */
export interface Recording {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly output: string;
  readonly guidance: number;
  readonly halves: 1 | 2;
  readonly calls: readonly {
    readonly timestep: number;
    readonly weight: number;
    readonly feeds: ReadonlyMap<string, Dense>;
  }[];
}

/** An oracle over recorded inputs, answered by the model as it is now. */
export async function recordOracle(r: Recording): Promise<Oracle> {
  const open: Oracle["open"] = (model, options) => r.runtime.openSession(model, { threads: 1, ...options });
  const session = await open(cloneModel(r.model));
  const calls: OracleCall[] = [];
  for (const c of r.calls) calls.push({ ...c, outputs: await session.run(c.feeds, [r.output]) });
  await session.release();
  return {
    calls,
    guidance: r.guidance,
    halves: r.halves,
    output: r.output,
    open,
    async errors(candidate): Promise<CallErrors> {
      const s = "run" in candidate ? candidate : await open(candidate);
      const signal = new Float64Array(calls.length);
      const noise = new Float64Array(calls.length);
      for (const [i, c] of calls.entries()) {
        const found = guide((await s.run(c.feeds, [r.output])).get(r.output)!, r.halves, r.guidance);
        const expected = guide(c.outputs.get(r.output)!, r.halves, r.guidance);
        for (const [k, e] of expected.entries()) {
          signal[i]! += e * e;
          noise[i]! += (found[k]! - e) ** 2;
        }
      }
      if (!("run" in candidate)) await s.release();
      const sqnr = signal.map((x, i) => ratioDb(x, noise[i]!));
      return {
        signal,
        noise,
        sqnr,
        mean: sqnr.reduce((a, b) => a + b, 0) / calls.length,
        worst: Math.min(...sqnr),
      };
    },
  };
}

/** Inputs of the bundled UNet at a few timesteps: `seeds` samples, both halves in a batch, hidden states of noise. */
export function unetCalls(timesteps: readonly number[], seeds: number): Recording["calls"] {
  const noise = (label: string, dims: readonly number[]): Dense =>
    denseFrom("f32", dims, gaussian(createRng(5, label), elementCount(dims)));
  return timesteps.map((timestep, i) => {
    const half = floats(noise(`sample ${timestep}`, [seeds, 3, 16, 16]));
    const both = new Float32Array(half.length * 2);
    both.set(half);
    both.set(half, half.length);
    const feeds = new Map<string, Dense>([
      ["sample", denseFrom("f32", [2 * seeds, 3, 16, 16], both)],
      ["timestep", denseFrom("i64", [1], [timestep])],
      ["encoder_hidden_states", noise("states", [2 * seeds, 8, 64])],
    ]);
    return { timestep, weight: i === 0 ? 1.5 : 0.75, feeds };
  });
}
