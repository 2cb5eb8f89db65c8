import { fail } from "../../diagnostics/index.ts";
import { IdSource, type Model } from "../graph.ts";
import type { TensorSource } from "../tensor.ts";
import { type BindContext, bindGraph } from "./bind.ts";
import { Cursor } from "./cursor.ts";
import { externalData } from "./external.ts";
import { NEWEST_IR } from "./limits.ts";
import { kept, type ModelMeta } from "./meta.ts";
import type { RawGraph, ReadContext } from "./raw.ts";
import { bindFunctions, type Opsets, type RawFunction, readFunction, readOpset } from "./read-function.ts";
import { readGraph } from "./read-graph.ts";
import { fieldBit, MODEL } from "./schema.ts";
import { type ByteSource, fileSource, memorySource } from "./source.ts";

/** What {@link readModel} puts up with. */
export interface ReadOptions {
  /** External data files may be absent: their tensors have types and shapes, and reading them fails. */
  readonly absentData?: boolean;
}

/**
 * Reads an ONNX model file. Weights stay where they are: tensors above a small size name a range of the model file or
 * of its external data files, whose presence and size are checked. Fails with one of the ONNX_*, EXTERNAL_DATA_* and
 * GRAPH_* codes.
 */
export async function readModel(path: string, options: ReadOptions = {}): Promise<Model> {
  const source = fileSource(path);
  try {
    return parse(source, { onDisk: true, path, absent: options.absentData === true });
  } finally {
    source.close();
  }
}

/**
 * Reads a model from memory; tensors are copied out, so `bytes` may be reused. `origin` names the model in diagnostics
 * and, when given, is the path whose folder external data is looked up in.
 */
export function decodeModel(bytes: Uint8Array, origin?: string): Model {
  const source = memorySource(bytes, origin ?? "model in memory");
  return parse(source, { onDisk: origin !== undefined, path: origin ?? null, absent: false });
}

/** Earlier models import nothing and mean operator set 1 (ONNX IR specification, "Operator set identifiers"). */
const FIRST_IR_WITH_OPSETS = 3;

/** Start of the text files that Git LFS leaves in place of large files. */
const LFS_POINTER = "version https://git-lfs";

/** Where a model is from, and whether its external data may be absent. */
interface Origin {
  readonly onDisk: boolean;
  readonly path: string | null;
  readonly absent: boolean;
}

function parse(source: ByteSource, origin: Origin): Model {
  const c = new Cursor(source);
  if (source.size === 0) c.malformed("the file is empty");
  const ctx: ReadContext = {
    c,
    external: externalData(source.file, origin),
    dims: { next: 0 },
    nodes: 0,
    graph: readGraph,
  };
  const head = new Uint8Array(Math.min(source.size, LFS_POINTER.length));
  source.fill(head, 0, head.length);
  if (Buffer.from(head).toString("latin1") === LFS_POINTER)
    c.malformed("this is a Git LFS pointer, not the model itself; run `git lfs pull`");

  let irVersion = 0;
  let name = "";
  let version = "";
  let graph: RawGraph | null = null;
  const functions: RawFunction[] = [];
  const opsets: Opsets = { versions: new Map(), metas: [] };
  let extra: TensorSource[] | undefined;
  let present = 0;
  for (let tag = c.tag(); tag !== 0; tag = c.tag()) {
    switch (tag) {
      case MODEL.irVersion:
        irVersion = Number(c.int64());
        break;
      case MODEL.producerName:
        name = c.name();
        if (name === "") present |= fieldBit(tag);
        break;
      case MODEL.producerVersion:
        version = c.name();
        if (version === "") present |= fieldBit(tag);
        break;
      case MODEL.graph:
        if (graph !== null) c.malformed("the model has two graphs");
        graph = readGraph(ctx);
        break;
      case MODEL.opsetImport:
        readOpset(c, opsets);
        break;
      case MODEL.functions:
        functions.push(readFunction(ctx));
        break;
      default:
        extra = c.keep(tag, extra);
    }
  }
  if (graph === null) return c.malformed("there is no graph: this is not an ONNX model");
  if (irVersion < 1 || irVersion > NEWEST_IR)
    fail("ONNX_VERSION", { file: source.file, found: irVersion, newest: NEWEST_IR });
  if (irVersion < FIRST_IR_WITH_OPSETS && !opsets.versions.has("")) {
    opsets.versions.set("", 1);
    opsets.metas.push({ domain: "", version: 1, wire: null });
  }

  const bind: BindContext = { ids: new IdSource(), file: source.file, c };
  const main = bindGraph(bind, graph, null);
  const meta: ModelMeta = {
    ...kept(extra, present),
    ...(opsets.metas.length > 0 && { opsets: opsets.metas }),
  };
  return {
    graph: main,
    functions: bindFunctions(bind, functions),
    irVersion,
    opsets: opsets.versions,
    producer: { name, version },
    path: origin.path,
    meta,
  };
}
