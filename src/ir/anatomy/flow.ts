import { type Graph, type Node, type NodeId, nodeReads, type ValueId } from "../graph.ts";
import { opSpec } from "../ops/index.ts";
import { constantOf, type MatchScope } from "../pattern/index.ts";

/** Inputs beyond this share the last bit: masks are 31-bit integers. */
const MAX_BITS = 30;

/** Which graph inputs each value depends on as data; shape computations do not count. */
export class Flow {
  readonly scope: MatchScope;
  /** Position of a node in topological order. */
  readonly position = new Map<NodeId, number>();
  readonly #masks = new Map<ValueId, number>();
  readonly #bits = new Map<ValueId, number>();

  constructor(scope: MatchScope) {
    this.scope = scope;
    const { graph } = scope;
    let bit = 0;
    for (const input of graph.inputs) {
      const mask = 1 << Math.min(bit++, MAX_BITS);
      this.#bits.set(input, mask);
      this.#masks.set(input, mask);
    }
    for (const node of graph.nodes()) {
      this.position.set(node.id, this.position.size);
      let mask = 0;
      if (!MEASURES.has(node.op) || node.domain !== "") {
        const spec = opSpec(node.domain, node.op);
        for (let i = 0; i < node.inputs.length; i++) {
          const read = node.inputs[i];
          if (read === null || read === undefined || spec?.shapeInputs?.includes(i) === true) continue;
          mask |= this.#masks.get(read) ?? 0;
        }
        if (spec === undefined || spec.traits?.includes("control-flow") === true)
          for (const read of nodeReads(node)) mask |= this.#masks.get(read) ?? 0;
      }
      for (const out of node.outputs) if (out !== null) this.#masks.set(out, mask);
    }
  }

  get graph(): Graph {
    return this.scope.graph;
  }
  /** Inputs the value depends on, a bit each. */
  mask(value: ValueId): number {
    return this.#masks.get(value) ?? 0;
  }
  /** Bit of a graph input. */
  bit(input: ValueId): number {
    return this.#bits.get(input) ?? 0;
  }
  rank(value: ValueId): number | null {
    return this.scope.shapes?.shape(value)?.length ?? null;
  }
  /** Length of an axis when it is a number. */
  dim(value: ValueId, axis: number): number | null {
    const d = this.scope.shapes?.shape(value)?.at(axis);
    return typeof d === "number" ? d : null;
  }
  isConstant(value: ValueId | null | undefined): boolean {
    return value !== null && value !== undefined && constantOf(this.scope, value) !== null;
  }
  at(node: NodeId): number {
    return this.position.get(node) ?? -1;
  }
  /** Users of a value that read it as data. */
  users(value: ValueId): readonly Node[] {
    const out: Node[] = [];
    for (const id of this.graph.users(value)) {
      const n = this.graph.node(id);
      if (MEASURES.has(n.op) && n.domain === "") continue;
      const steer = opSpec(n.domain, n.op)?.shapeInputs;
      if (steer !== undefined && n.inputs.every((v, i) => v !== value || steer.includes(i))) continue;
      out.push(n);
    }
    return out;
  }
}

/** Ops whose result depends on the input's size only. */
const MEASURES = new Set(["Shape", "Size", "ConstantOfShape"]);

/** True for ops that only move elements of their first input, or keep a part of them. */
export function movesData(node: Node): boolean {
  return opSpec(node.domain, node.op)?.traits?.includes("moves-data") === true;
}
