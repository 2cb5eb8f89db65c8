import { readModel } from "../../src/ir/onnx/index.ts";
import { countOps, createRuntime, optimizedOps } from "../../src/runtime/index.ts";

/** Counts of operators in a model, as it is written and as onnxruntime runs it after all its optimisations. */
export interface Operators {
  readonly written: Readonly<Record<string, number>>;
  readonly run: Readonly<Record<string, number>>;
}

const { model: path } = JSON.parse(process.argv[2] ?? "{}") as { readonly model: string };
const written = Object.fromEntries(countOps(await readModel(path)));
const runtime = await createRuntime({ workers: 0 });
const run = Object.fromEntries(await optimizedOps(runtime, path));
await runtime.close();
console.log(JSON.stringify({ written, run } satisfies Operators));
