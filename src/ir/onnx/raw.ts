import type { SparseTensor } from "../graph.ts";
import type { Tensor } from "../tensor.ts";
import type { ValueType } from "../types.ts";
import type { Cursor } from "./cursor.ts";
import type { ExternalData } from "./external.ts";
import type { AttrMeta, Kept, TensorMeta, TypeMeta } from "./meta.ts";
import type { DimNames } from "./read-type.ts";

/*
 * The first half of reading: messages become these records, in which values are still names. `bind.ts` turns names into
 * ids, which needs the whole graph because inputs and initializers follow the nodes in the file.
 */

export interface RawInfo {
  readonly name: string;
  readonly type: ValueType | null;
  readonly meta: TypeMeta | undefined;
  readonly kept: Kept;
  /** The whole field content, read only when asked: infos of values that are not there are kept as bytes. */
  readonly at: number;
  readonly start: number;
  readonly length: number;
}

/** An attribute before binding: like {@link Attr}, with unbound graphs. */
export type RawAttr =
  | { readonly kind: "int"; readonly value: number | bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: Uint8Array }
  | { readonly kind: "tensor"; readonly value: ReadTensor }
  | { readonly kind: "sparse"; readonly value: ReadSparse }
  | { readonly kind: "graph"; readonly value: RawGraph }
  | { readonly kind: "type"; readonly value: ReadTypeField }
  | { readonly kind: "ints"; readonly value: readonly (number | bigint)[] }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "strings"; readonly value: readonly Uint8Array[] }
  | { readonly kind: "tensors"; readonly value: readonly ReadTensor[] }
  | { readonly kind: "sparses"; readonly value: readonly ReadSparse[] }
  | { readonly kind: "graphs"; readonly value: readonly RawGraph[] }
  | { readonly kind: "types"; readonly value: readonly ReadTypeField[] }
  | { readonly kind: "ref"; readonly name: string; readonly type: number };

export interface ReadTypeField {
  readonly type: ValueType | null;
  readonly meta?: TypeMeta;
}

export interface RawNode {
  readonly at: number;
  readonly name: string;
  readonly op: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attrs: ReadonlyMap<string, RawAttr>;
  readonly attrMetas: Readonly<Record<string, AttrMeta>> | undefined;
  readonly kept: Kept;
}

export interface RawGraph {
  readonly at: number;
  readonly name: string;
  readonly nodes: readonly RawNode[];
  readonly initializers: readonly ReadTensor[];
  readonly sparse: readonly ReadSparse[];
  readonly inputs: readonly RawInfo[];
  readonly outputs: readonly RawInfo[];
  readonly valueInfo: readonly RawInfo[];
  readonly kept: Kept;
}

/** What every reading function shares. */
export interface ReadContext {
  readonly c: Cursor;
  readonly external: ExternalData;
  readonly dims: DimNames;
  /** Nodes read so far. */
  nodes: number;
  /** Reads a graph inside an attribute. */
  readonly graph: (ctx: ReadContext) => RawGraph;
}

/** A tensor with its name and what the file said besides. */
export interface ReadTensor {
  readonly name: string;
  readonly tensor: Tensor;
  readonly meta: TensorMeta;
  readonly at: number;
}

/** A sparse tensor; its name is that of its values. */
export interface ReadSparse {
  readonly name: string;
  readonly sparse: SparseTensor;
  readonly at: number;
}
