import { readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult } from "../lib/case.ts";
import { type NpyArray, readNpz } from "../lib/npz.ts";
import { TRAINED } from "./shapes.ts";

const TOLERANCE = 1e-4;

function tensor(a: NpyArray): Tensor {
  return a.data instanceof BigInt64Array
    ? new Tensor("int64", a.data, a.dims)
    : new Tensor("float32", a.data, a.dims);
}

/** Largest absolute difference of a model to the recorded outputs, over all recorded inputs. */
async function worstError(model: string, arrays: ReadonlyMap<string, NpyArray>): Promise<number> {
  const session = await InferenceSession.create(model, { intraOpNumThreads: 2 });
  let worst = 0;
  for (let i = 0; arrays.has(`${i}.${session.outputNames[0]}`); i++) {
    const feeds = Object.fromEntries(session.inputNames.map((n) => [n, tensor(arrays.get(`${i}.${n}`)!)]));
    const outputs = await session.run(feeds);
    for (const name of session.outputNames) {
      const got = outputs[name]!.data as Float32Array;
      const want = arrays.get(`${i}.${name}`)!.data as Float32Array;
      for (let k = 0; k < want.length; k++) worst = Math.max(worst, Math.abs(got[k]! - want[k]!));
    }
  }
  await session.release();
  return worst;
}

/** Exact builds against the outputs PyTorch recorded. */
export const exactReference: BenchCase = {
  name: "exact-reference",
  title: "exact builds against PyTorch's outputs",
  needs: ["cifar-unet", "cifar-dit"],
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: CaseResult["checks"][number][] = [];
    const commands: string[] = [];
    for (const t of TRAINED) {
      const source = join(models, t.name);
      const arrays = readNpz(readFileSync(join(source, "reference.npz")));
      const before = await worstError(join(source, t.component, "model.onnx"), arrays);
      for (const shape of [undefined, t.dims]) {
        say(`${t.name}, ${shape === undefined ? "symbolic" : "fixed"} shape`);
        const made = await build({
          source,
          out: scratch.fresh(t.name),
          preset: "exact",
          component: t.component,
          ...(shape && { shape }),
        });
        const after = await worstError(made.model, arrays);
        const label = shape === undefined ? "symbolic" : "fixed";
        rows.push([t.name, label, before, after]);
        checks.push({
          name: `${t.name} ${label}`,
          value: after,
          relation: "<=",
          limit: TOLERANCE,
          unit: "max abs",
        });
        commands.push(made.command);
        scratch.drop(made.out);
      }
    }
    return {
      columns: ["pipeline", "shape", "max abs error, original", "max abs error, build"],
      rows,
      checks,
      commands,
    };
  },
};
