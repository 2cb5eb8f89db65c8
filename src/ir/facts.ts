import { type Graph, type Model, subgraphs } from "./graph.ts";
import { type InferenceResult, inferShapes } from "./infer.ts";

/** A result computed from a model and kept until the model changes. Make one with {@link defineFact}. */
export interface Fact<T> {
  readonly name: string;
  compute(model: Model, facts: Facts): T;
}

/** Analysis results of one model, computed on demand and dropped when a patch is applied to any of its graphs. */
export interface Facts {
  /** The fact for the model as it is now. */
  get<T>(fact: Fact<T>): T;
}

/** Identity helper that fixes the result type at the definition. */
export function defineFact<T>(fact: Fact<T>): Fact<T> {
  return fact;
}

/** Inferred types of every value. */
export const shapesFact: Fact<InferenceResult> = defineFact({
  name: "shapes",
  compute: (model) => inferShapes(model),
});

/** The graphs of a model with the versions they had: equal stamps mean that nothing changed. */
interface Stamp {
  readonly graphs: readonly Graph[];
  readonly versions: readonly number[];
  readonly opsets: Model["opsets"];
  readonly functions: Model["functions"];
}

function stampOf(model: Model): Stamp {
  const graphs: Graph[] = [];
  const walk = (g: Graph): void => {
    graphs.push(g);
    for (const node of g.nodes()) for (const inner of subgraphs(node)) walk(inner);
  };
  walk(model.graph);
  for (const f of model.functions) walk(f.body);
  return { graphs, versions: graphs.map((g) => g.version), opsets: model.opsets, functions: model.functions };
}

function isCurrent(stamp: Stamp, model: Model): boolean {
  return (
    stamp.graphs[0] === model.graph &&
    stamp.opsets === model.opsets &&
    stamp.functions === model.functions &&
    stamp.graphs.every((g, i) => g.version === stamp.versions[i])
  );
}

/** Facts of a model. Asking again is cheap: versions are compared, and nothing is computed while they are the same. */
export function factsOf(model: Model): Facts {
  const known = new Map<Fact<unknown>, unknown>();
  let stamp: Stamp | null = null;
  const facts: Facts = {
    get<T>(fact: Fact<T>): T {
      if (stamp === null || !isCurrent(stamp, model)) {
        known.clear();
        stamp = stampOf(model);
      }
      if (known.has(fact)) return known.get(fact) as T;
      const value = fact.compute(model, facts);
      known.set(fact, value);
      return value;
    },
  };
  return facts;
}
