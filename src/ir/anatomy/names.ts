import type { Graph, NodeId } from "../graph.ts";

/** The exporter's scope of a node: its name up to the last slash; empty when it has none. */
export function scopeOf(name: string): string {
  const cut = name.lastIndexOf("/");
  return cut <= 0 ? "" : name.slice(0, cut);
}

/** The common path of several scopes. */
export function commonScope(scopes: readonly string[]): string {
  const [first, ...rest] = scopes;
  if (first === undefined) return "";
  let parts = first.split("/");
  for (const scope of rest) {
    const other = scope.split("/");
    let i = 0;
    while (i < parts.length && i < other.length && parts[i] === other[i]) i++;
    parts = parts.slice(0, i);
  }
  const path = parts.join("/");
  return path === "" ? "" : path;
}

/** Scope of a group of nodes, those without a scope left out. */
export function scopeOfNodes(graph: Graph, nodes: Iterable<NodeId>): string {
  const scopes = new Set<string>();
  for (const id of nodes) {
    const s = scopeOf(graph.node(id).name);
    if (s !== "") scopes.add(s);
  }
  return commonScope([...scopes]);
}

/** A scope from an initializer's name: `net.down.0.conv1.weight` gives `/net/down.0/conv1`. */
export function scopeOfWeight(name: string): string {
  if (!/^[\w.]+\.(weight|bias)$/.test(name)) return "";
  const words = name.split(".").slice(0, -1);
  let path = "";
  for (const word of words) path += /^\d+$/.test(word) ? `.${word}` : `/${word}`;
  return path;
}
