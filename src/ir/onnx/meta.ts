import type { ProtoMeta, ValueId } from "../graph.ts";
import type { Tensor, TensorSource } from "../tensor.ts";
import type { ValueType } from "../types.ts";

/*
 * What hangs in `meta` of models, graphs, nodes and values so that reading and writing loses nothing:
 * - `extra`: fields no pass needs (doc strings, metadata_props, quantization annotations, training info, device
 *   configurations) and fields this program does not know, as wire bytes with their tags. Long ones stay in the file.
 * - `present`: bit n is set when field n was there although it held the default value.
 * - what the writer would spell otherwise, with the object it belongs to (`of`): once a pass has put another object in
 *   its place the note is void and the standard spelling is written.
 */

export type Extra = readonly TensorSource[];

export type Kept = { readonly extra?: Extra; readonly present?: number };

/** Field of TensorProto that held the data; `none` for tensors without elements and without any data field. */
export type DataField =
  | "raw"
  | "float"
  | "int32"
  | "int64"
  | "double"
  | "uint64"
  | "strings"
  | "external"
  | "none";

export type TensorMeta = Kept & {
  readonly of: Tensor;
  readonly field: DataField;
  /** The tensor's own name, for tensors in attributes. */
  readonly name?: string;
  /** external_data entries other than location, offset and length, as wire bytes. */
  readonly entries?: Extra;
};

export type SparseMeta = Kept & { readonly values: TensorMeta; readonly indices: TensorMeta };

/** A type that {@link ValueType} cannot say in full (denotations, unnamed dims, fields not known). */
export type TypeMeta = { readonly of: ValueType | null; readonly wire: Uint8Array };

export type ValueMeta = {
  readonly tensor?: TensorMeta;
  readonly info?: Kept;
  readonly type?: TypeMeta;
};

export type AttrMeta = Kept & {
  /** `type` was not written (IR version 1). */
  readonly noType?: true;
  /** The value was left out because it is the default. */
  readonly noValue?: true;
};

export type NodeMeta = Kept & {
  /** The domain as written, where it is a spelling of another. */
  readonly domain?: string;
  readonly attrs?: Readonly<Record<string, AttrMeta>>;
};

/** One opset_import entry that the standard spelling would change; `wire` is `null` where none was written. */
export type OpsetMeta = {
  readonly domain: string;
  readonly version: number;
  readonly wire: Uint8Array | null;
};

/** A graph output whose ValueInfo is not that of its value: an input or captured value passed on, or a repeat. */
export type OutputMeta = { readonly slot: number; readonly id: ValueId; readonly wire: Uint8Array };

export type GraphMeta = Kept & {
  readonly valueInfo?: readonly ValueId[];
  readonly initializers?: readonly ValueId[];
  readonly outputs?: readonly OutputMeta[];
};

export type FunctionMeta = Kept & {
  readonly domain?: string;
  readonly opsets?: readonly OpsetMeta[];
  readonly defaults?: Readonly<Record<string, AttrMeta>>;
};

export type ModelMeta = Kept & { readonly opsets?: readonly OpsetMeta[] };

/** `meta` as this folder wrote it; metas made elsewhere are plain objects without these keys. */
export function metaOf<M>(meta: ProtoMeta | undefined): Partial<M> {
  return (meta ?? {}) as Partial<M>;
}

/** `{}` without the keys whose value is `undefined` or an empty mask, so that metas stay small. */
export function kept(extra: TensorSource[] | undefined, present: number): Kept {
  return {
    ...(extra !== undefined && { extra }),
    ...(present !== 0 && { present }),
  };
}
