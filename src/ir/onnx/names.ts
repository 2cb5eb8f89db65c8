import { captures, type Graph, type ValueId } from "../graph.ts";

/** The name each value is written under: its own, made unique where two would clash. */
export interface Names {
  of(id: ValueId | null): string;
  /** Names inside a subgraph of this graph. */
  inner(graph: Graph): Names;
}

/**
 * Names of a graph's values. A value without name gets one. Inside a subgraph, a value with the name of an outer value
 * that the subgraph reads is renamed: the reader would take it for the other.
 */
export function namesOf(graph: Graph, outer: Names | null = null): Names {
  const names = new Map<ValueId, string>();
  const taken = new Set<string>();
  if (outer !== null) for (const id of captures(graph)) taken.add(outer.of(id));
  for (const value of graph.values()) {
    const base = value.name === "" ? `value_${value.id}` : value.name;
    let name = base;
    for (let k = 1; taken.has(name); k++) name = `${base}_${k}`;
    taken.add(name);
    names.set(value.id, name);
  }
  const self: Names = {
    of(id) {
      if (id === null) return "";
      const name = names.get(id) ?? outer?.of(id);
      if (name === undefined)
        throw new Error(`graph "${graph.name}" reads value ${id}, which it does not have`);
      return name;
    },
    inner: (g) => namesOf(g, self),
  };
  return self;
}
