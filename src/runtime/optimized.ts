import { join } from "node:path";
import { type Graph, type Model, opKey, subgraphs } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import type { Runtime } from "./runtime.ts";
import type { SessionOptions } from "./session.ts";
import { privateFolder } from "./staging.ts";

function count(graph: Graph, into: Map<string, number>): void {
  for (const n of graph.nodes()) {
    const key = opKey(n);
    into.set(key, (into.get(key) ?? 0) + 1);
    for (const g of subgraphs(n)) count(g, into);
  }
}

/** How many nodes of each operator (`domain:op`, or `op` in the standard domain) a model has, by name. */
export function countOps(model: Model): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  count(model.graph, counts);
  return new Map([...counts].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** Operators of the graph that onnxruntime really runs after its own optimisation, fusions included. */
export async function optimizedOps(
  runtime: Pick<Runtime, "openSession">,
  source: string | Uint8Array | Model,
  options: Omit<SessionOptions, "optimizedModelPath"> = {},
): Promise<ReadonlyMap<string, number>> {
  const folder = await privateFolder();
  try {
    const path = join(folder.path, "optimized.onnx");
    const session = await runtime.openSession(source, {
      ...options,
      optimizedModelPath: path,
      config: {
        ...options.config,
        // Weights in a file of their own: a graph with more than 2 GiB of them could not be written otherwise.
        "session.optimized_model_external_initializers_file_name": "optimized.data",
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
      },
    });
    await session.release();
    return countOps(await readModel(path));
  } finally {
    await folder.remove();
  }
}
