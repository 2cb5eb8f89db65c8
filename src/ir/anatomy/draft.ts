import type { Node, NodeId, ValueId } from "../graph.ts";
import type { MadePart, MatchScope, PartScope, Structures } from "../pattern/index.ts";
import type { Flow } from "./flow.ts";
import type { Linear, Linears } from "./linear.ts";
import type { LayerKind, Part } from "./types.ts";
import { plainRoot } from "./walk.ts";

/** Part fields that every kind has; filled in when all parts are known. */
type PartBase = Pick<Part, "id" | "name" | "nodes" | "input" | "output" | "parent">;

/** A part under construction: its number and parent are decided at the end. */
export interface Draft<P extends Part = Part> {
  readonly kind: P["kind"];
  readonly nodes: Set<NodeId>;
  /** Nodes whose scopes name the part; all of them unless said. */
  readonly naming: readonly NodeId[] | null;
  readonly input: ValueId;
  readonly output: ValueId;
  finish(base: PartBase, id: (d: Draft) => number): P;
}

/** Everything the recognisers share. */
export class Workshop {
  readonly flow: Flow;
  readonly linears: Linears;
  readonly structures: Structures;
  readonly drafts: Draft[] = [];
  readonly kinds = new Map<NodeId, LayerKind>();
  readonly misses: { pattern: string; node: NodeId; why: string }[] = [];
  readonly made = new Map<ValueId, MadePart[]>();
  /** What a made part stands for. */
  readonly layerOf = new Map<MadePart, Linear>();
  readonly draftOf = new Map<MadePart, Draft>();
  /** The norm inside a modulation. */
  readonly normOf = new Map<Draft, Draft>();
  /** The layer that makes scale and shift of a modulation; `null` for tables. */
  readonly modulatorOf = new Map<Draft, NodeId | null>();
  /** Bits of the sample, of sequence conditioning, and of everything else (timestep, classes, pooled vectors). */
  readonly bits: { readonly sample: number; readonly sequence: number };

  constructor(parts: {
    flow: Flow;
    linears: Linears;
    structures: Structures;
    bits: { readonly sample: number; readonly sequence: number };
  }) {
    this.flow = parts.flow;
    this.linears = parts.linears;
    this.structures = parts.structures;
    this.bits = parts.bits;
  }

  /** Scope in which patterns can ask for parts recognised so far. */
  get scope(): PartScope & MatchScope {
    return { ...this.flow.scope, made: this.made };
  }

  register(part: MadePart): MadePart {
    const list = this.made.get(part.output);
    if (list === undefined) this.made.set(part.output, [part]);
    else list.push(part);
    return part;
  }

  add<P extends Part>(draft: Draft<P>): Draft<P> {
    this.drafts.push(draft as unknown as Draft);
    return draft;
  }

  /** Depends on inputs, but neither on the sample nor on sequence conditioning. */
  isConditioning(value: ValueId): boolean {
    const mask = this.flow.mask(value);
    return mask !== 0 && (mask & (this.bits.sample | this.bits.sequence)) === 0;
  }

  /** Goes back through plain steps to a graph input or to what a part makes. */
  root(value: ValueId): ValueId {
    return plainRoot(this.flow, value, (v) => this.made.has(v));
  }

  /** Nodes of a layer: the product and the addition of its bias. */
  layerNodes(layer: Linear | undefined): NodeId[] {
    if (layer === undefined) return [];
    return layer.biasNode === null ? [layer.node.id] : [layer.node.id, layer.biasNode.id];
  }

  /** Gives a layer its kind unless an earlier recogniser did. */
  name(layer: Linear | undefined, kind: LayerKind): void {
    if (layer !== undefined && !this.kinds.has(layer.node.id)) this.kinds.set(layer.node.id, kind);
  }

  ids(nodes: Iterable<Node>): NodeId[] {
    return [...nodes].map((n) => n.id);
  }
}

/** Kinds of {@link MadePart} that the anatomy registers. */
export const MADE = {
  conv: "conv",
  matrix: "matrix",
  pointwise: "pointwise",
  norm: "norm",
  activation: "activation",
  /** A norm with its non-linearity in one operator. */
  activatedNorm: "activated-norm",
  modulated: "modulated",
} as const;
