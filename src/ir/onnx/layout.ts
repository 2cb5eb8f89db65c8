import { DTYPES } from "../dtype.ts";
import { type Graph, type Model, subgraphs } from "../graph.ts";
import { type Tensor, tensorBytes } from "../tensor.ts";
import { metaOf, type SparseMeta } from "./meta.ts";
import type { Place } from "./write-tensor.ts";

/** A place in a file that is written already. */
export interface Link {
  readonly file: string;
  readonly offset: number;
  /** Hash of the bytes there, for the manifest; may be missing from models that are not hashed. */
  readonly sha256?: string;
}

/** When tensors leave the model file, and how they lie in the data file. */
export interface ExternalOptions {
  /** Tensors below this many bytes stay in the model file. Default 1,024. */
  readonly threshold?: number;
  /**
   * Offsets of tensors of a mebibyte and more are multiples of this. Default 4,096, the page size that mapping needs.
   * Smaller tensors gain nothing from mapping and would be mostly padding: they lie at multiples of 64, a cache line.
   */
  readonly align?: number;
  /** A model whose larger tensors take no more than this in all stays one file. Default 16 MiB. */
  readonly total?: number;
  /** Data file, beside the model; `<model>.data` unless said. */
  readonly file?: string;
  /** Where a large tensor's bytes already lie in a file beside the model; it is then referred to, not written. */
  readonly linked?: (tensor: Tensor) => Link | null;
  /** Tensors that lie nowhere yet stay in the model file: no data file is written. */
  readonly linkedOnly?: boolean;
}

const DEFAULT_THRESHOLD = 1024;
const DEFAULT_ALIGN = 4096;
const DEFAULT_TOTAL = 2 ** 24;
/** Bytes from which a tensor is mapped by pages. */
const MAPPED_BYTES = 2 ** 20;
const CACHE_LINE = 64;

/**
 * Integers this wide are shapes, axes and indices. Some onnxruntime versions need them during graph optimisation and
 * refuse external ones (microsoft/onnxruntime#26261), so they stay in the model file up to a size no shape reaches.
 */
const INDEX_BITS = 32;
const INDEX_BYTES = 2 ** 20;

/** An initializer as the manifest names it. */
export interface Stored {
  readonly name: string;
  readonly tensor: Tensor;
}

/** Where everything goes. */
export interface Layout {
  readonly initializers: readonly Stored[];
  /** Tensors of the data file in order, each once. */
  readonly external: readonly { readonly tensor: Tensor; readonly offset: number; readonly bytes: number }[];
  readonly externalBytes: number;
  /** Hashes of tensors that lie in files written before. */
  readonly known: ReadonlyMap<Tensor, string>;
  place(tensor: Tensor): Place;
}

/** Every initializer of the model, subgraphs and functions included, in the order they are written. */
function initializers(model: Model): Stored[] {
  const out: Stored[] = [];
  const walk = (graph: Graph): void => {
    for (const v of graph.values()) {
      if (v.init !== null) out.push({ name: v.name, tensor: v.init });
      if (v.sparse !== undefined) {
        const indices = metaOf<SparseMeta>(v.sparse.meta).indices?.name;
        out.push({ name: v.name, tensor: v.sparse.values });
        out.push({ name: indices || `${v.name} indices`, tensor: v.sparse.indices });
      }
    }
    for (const node of graph.nodes()) for (const g of subgraphs(node)) walk(g);
  };
  walk(model.graph);
  for (const f of model.functions) walk(f.body);
  return out;
}

/** Tensors with the same key have the same bytes and are stored once. */
function sameBytes(tensor: Tensor, derivations: Map<object, number>): unknown {
  const { source } = tensor;
  if (source.kind === "file") return `${source.offset}:${source.length}:${source.path}`;
  if (source.kind === "derived") {
    let id = derivations.get(source.derivation);
    if (id === undefined) derivations.set(source.derivation, (id = derivations.size));
    return `${id}#${source.output}`;
  }
  return tensor;
}

/** Decides which tensors go to the data file and at which offset. `options` is `null` for a single file. */
export function layOut(model: Model, file: string, options: ExternalOptions | null): Layout {
  const stored = initializers(model);
  const threshold = options?.threshold ?? DEFAULT_THRESHOLD;
  const align = options?.align ?? DEFAULT_ALIGN;
  if (!Number.isSafeInteger(align) || align < 1)
    throw new Error(`alignment ${align} is not a positive integer`);
  const mayLeave = ({ dtype, source }: Tensor, bytes: number): boolean => {
    const { bits, kind } = DTYPES[dtype];
    if (source.kind === "strings" || bytes < threshold || bytes === 0) return false;
    return !((kind === "int" || kind === "uint") && bits >= INDEX_BITS && bytes <= INDEX_BYTES);
  };
  const places = new Map<Tensor, { file: string; offset: number }>();
  const keys = new Map<unknown, { file: string; offset: number }>();
  const derivations = new Map<object, number>();
  const known = new Map<Tensor, string>();
  const external: { tensor: Tensor; offset: number; bytes: number }[] = [];
  let end = 0;
  let sum = 0;
  if (options !== null) {
    for (const { tensor } of stored) {
      const bytes = tensorBytes(tensor);
      if (!mayLeave(tensor, bytes)) continue;
      const linked = options.linked?.(tensor) ?? null;
      if (linked !== null) {
        const { file: at, offset, sha256 } = linked;
        places.set(tensor, { file: at, offset });
        if (sha256 !== undefined) known.set(tensor, sha256);
        sum += bytes;
        continue;
      }
      if (options.linkedOnly === true) continue;
      const key = sameBytes(tensor, derivations);
      let place = keys.get(key);
      if (place === undefined) {
        const step = bytes < MAPPED_BYTES ? Math.min(align, CACHE_LINE) : align;
        const offset = Math.ceil(end / step) * step;
        place = { file, offset };
        keys.set(key, place);
        external.push({ tensor, offset, bytes });
        end = offset + bytes;
        sum += bytes;
      }
      places.set(tensor, place);
    }
  }
  const single = sum <= (options?.total ?? DEFAULT_TOTAL);
  return {
    initializers: stored,
    external: single ? [] : external,
    externalBytes: single ? 0 : end,
    known,
    place: (tensor) => (single ? null : (places.get(tensor) ?? null)),
  };
}
