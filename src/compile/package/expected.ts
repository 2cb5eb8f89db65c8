import { join } from "node:path";
import { numbersOf } from "../../calibrate/dense.ts";
import { npzBytes, storable } from "../../calibrate/write-npz.ts";
import { DiffpressError } from "../../diagnostics/index.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Session } from "../../runtime/index.ts";
import type { Target } from "../../targets/target.ts";
import { targetFolder } from "../../targets/variant.ts";
import { withSession } from "../../verify/sessions.ts";
import { seededFeeds } from "../component-inputs.ts";
import { RUNNABLE_BYTES } from "../runnable.ts";
import type { SourceComponent } from "../source.ts";
import type { BuildContext, Built } from "../targets.ts";
import type { ExpectedOutput, SelfTest } from "./build-file.ts";

/**
 * Signal to error that a device keeps against reference arithmetic on the CPU, in dB: kernels of the same type in another
 * order keep more; half precision on GPUs about 45 and more, NPUs less.
 */
const MIN_SQNR_DB: Readonly<Record<Target["kind"], number>> = { cpu: 45, gpu: 40, npu: 30 };

/** Bytes of inputs and outputs above which none are stored. */
const MOST_BYTES = 64 << 20;
/** Elements spelled out. */
const FIRST = 4;

/** A self-test and the archive it reads. */
export interface Expected {
  readonly test: SelfTest;
  readonly archive: Uint8Array;
}

const rounded = (x: number): number => Number(x.toPrecision(6));

function summary(name: string, d: Dense): ExpectedOutput {
  const values = numbersOf(d);
  let [sum, square] = [0, 0];
  for (const v of values) {
    sum += v;
    square += v * v;
  }
  const n = Math.max(1, values.length);
  return {
    name,
    dtype: d.dtype,
    dims: d.dims,
    first: Array.from(values.slice(0, FIRST), rounded),
    mean: rounded(sum / n),
    rms: rounded(Math.sqrt(square / n)),
  };
}

const finite = (outputs: ReadonlyMap<string, Dense>): boolean =>
  [...outputs.values()].every((d) => numbersOf(d).every((v) => Number.isFinite(v)));

/** The first seeded inputs whose outputs are finite: builds with frozen timesteps answer NaN at others. */
async function answered(
  session: Session,
  sets: Iterable<ReadonlyMap<string, Dense>>,
): Promise<{ feeds: ReadonlyMap<string, Dense>; outputs: ReadonlyMap<string, Dense> } | null> {
  for (const feeds of sets) {
    const outputs = await session.run(feeds);
    if (finite(outputs)) return { feeds, outputs };
  }
  return null;
}

/**
 * Runs a written model once on the CPU without graph optimisation and keeps what it was fed and what it said; a reason
 * where that cannot be done.
 */
export async function expectedOutputs(
  ctx: BuildContext,
  target: Target,
  component: SourceComponent,
  built: Built,
): Promise<Expected | string> {
  if (built.component.bytes.after > RUNNABLE_BYTES) return "the model is too large to be run unasked";
  const path = join(ctx.output.staging, built.written.path);
  const { twin } = built;
  try {
    return await withSession(ctx.runtime, path, { optimize: "disable" }, async (session) => {
      const sets = seededFeeds(ctx.prepared, component, session.inputs, built.component.shape);
      const found = await answered(session, sets);
      if (found === null) return "the build answers no seeded input with finite numbers";
      const { feeds, outputs } = found;
      const arrays = new Map([
        ...[...feeds].map(([name, d]) => [`in.${name}`, d] as const),
        ...[...outputs].map(([name, d]) => [`out.${name}`, d] as const),
      ]);
      const other = [...arrays].find(([, d]) => !storable(d));
      if (other !== undefined) return `archives do not hold ${other[1].dtype}`;
      if ([...arrays.values()].reduce((n, d) => n + d.bytes.length, 0) > MOST_BYTES)
        return "its inputs and outputs are too large to be stored";
      const file = built.written.path.replace(/[^/]*$/, "self-test.npz");
      const test: SelfTest = {
        file: file.slice(targetFolder(target).length + 1),
        minSqnrDb: MIN_SQNR_DB[target.kind],
        reference: `onnxruntime on CPU, one thread, graph optimisation off${twin.length === 0 ? "" : `; ${twin.join(", ")} in standard operators`}`,
        ...(twin.length > 0 && { twin }),
        inputs: [...feeds].map(([name, { dtype, dims }]) => ({ name, dtype, dims })),
        outputs: [...outputs].map(([name, d]) => summary(name, d)),
      };
      return { test, archive: npzBytes(arrays) };
    });
  } catch (e) {
    if (e instanceof DiffpressError && e.code === "RUNTIME_REJECTED")
      return `the build does not run on the CPU of this machine: ${e.message}`;
    throw e;
  }
}
