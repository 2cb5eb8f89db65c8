import type { Graph, Value } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";
import { definePass } from "../pass.ts";
import { ownConstants } from "./own-constants.ts";
import { shareTransposed } from "./transposed-twins.ts";

/** Bytes compared before a whole tensor is read: enough to tell trained weights apart. */
const PROBE_BYTES = 256;

/** The first bytes of a constant, without reading the rest of it from its file. */
async function probe(t: Tensor, reader: TensorReader): Promise<string> {
  const bytes = tensorBytes(t);
  if (t.source.kind === "file" && bytes > PROBE_BYTES) {
    const head: Tensor = { dtype: "u8", dims: [PROBE_BYTES], source: { ...t.source, length: PROBE_BYTES } };
    return Buffer.from(await reader.read(head)).toString("latin1");
  }
  return Buffer.from((await reader.read(t)).subarray(0, PROBE_BYTES)).toString("latin1");
}

/** Where a constant certainly equals another without reading it. */
function sameSource(a: Tensor, b: Tensor): boolean {
  const [x, y] = [a.source, b.source];
  return x.kind === "file" && y.kind === "file" && x.path === y.path && x.offset === y.offset;
}

async function equal(a: Tensor, b: Tensor, reader: TensorReader): Promise<boolean> {
  if (sameSource(a, b)) return true;
  const x = await reader.read(a);
  const y = await reader.read(b);
  return Buffer.compare(x, y) === 0;
}

/** Groups of weights of one type, larger than what is compared in memory anyway. */
function candidates(graph: Graph, minBytes: number): Value[][] {
  const groups = new Map<string, Value[]>();
  const own = ownConstants(graph);
  for (const v of graph.values()) {
    if (v.init === null || own.has(v.id) || graph.inputs.includes(v.id) || v.init.source.kind === "strings")
      continue;
    if (v.init.source.kind === "derived" || tensorBytes(v.init) < minBytes) continue;
    const key = `${v.init.dtype}[${v.init.dims}]`;
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [v]);
    else list.push(v);
  }
  return [...groups.values()].filter((g) => g.length > 1);
}

export const dedupeWeights = definePass<{ minBytes: number }>({
  name: "dedupe-weights",
  family: "clean",
  summary: "Stores weights that are equal byte for byte, or each other's transposes, once",
  doc: `Weights of the same type and shape are told apart by their first ${PROBE_BYTES} bytes; only those that agree
there are read and compared whole, so a model without duplicates costs next to nothing. Two matrices that are each
other's transposes become one where what reads the second can read the first turned around for free: a Gemm by its flag,
a MatMul of two matrices as a Gemm. Graph inputs that carry a default are left alone.`,
  effect: "exact",
  readsWeights: true,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      minBytes: {
        type: "integer",
        minimum: 1,
        default: 256,
        description: "Constants below this size are left alone.",
      },
    },
  },
  version: 2,
  async run(graph, options, ctx) {
    const patch = new PatchBuilder(graph, "dedupe-weights");
    for (const group of candidates(graph, options.minBytes)) {
      const byHead = new Map<string, Value[]>();
      for (const v of group) {
        const head = await probe(v.init!, ctx.reader);
        const firsts = byHead.get(head) ?? [];
        let twin: Value | undefined;
        for (const first of firsts) {
          if (await equal(first.init!, v.init!, ctx.reader)) {
            twin = first;
            break;
          }
        }
        if (twin === undefined) byHead.set(head, [...firsts, v]);
        else {
          patch.redirect(v.id, twin.id).drop(v.id);
          ctx.decide({
            node: v.name,
            kind: "applied",
            rule: "equal-bytes",
            to: twin.name,
            bytesBefore: tensorBytes(v.init!),
            bytesAfter: 0,
          });
        }
      }
    }
    patch.apply();
    await shareTransposed(graph, options.minBytes, ctx);
  },
});
