import { readFileSync } from "node:fs";
import proto, { type onnx } from "onnx-proto";
import type { Dims } from "./feeds.ts";

function countGraph(graph: onnx.IGraphProto | null | undefined): number {
  let n = 0;
  for (const node of graph?.node ?? []) {
    n++;
    for (const attr of node.attribute ?? []) {
      if (attr.g) n += countGraph(attr.g);
      for (const g of attr.graphs ?? []) n += countGraph(g);
    }
  }
  return n;
}

/** Nodes of a serialized model, subgraphs included; counted with onnx-proto so that every tool is counted alike. */
function countNodes(bytes: Uint8Array): number {
  return countGraph(proto.onnx.ModelProto.decode(bytes).graph);
}

/** Like {@link countNodes} for a file. */
export function countFileNodes(path: string): number {
  return countNodes(readFileSync(path));
}

/** The model with symbolic input dims replaced by numbers; output dims keep their symbols. */
export function fixShapes(path: string, dims: Dims): Uint8Array {
  const model = proto.onnx.ModelProto.decode(readFileSync(path));
  for (const input of model.graph?.input ?? []) {
    for (const dim of input.type?.tensorType?.shape?.dim ?? []) {
      const value = dim.dimParam ? dims[dim.dimParam] : undefined;
      if (!dim.dimParam) continue;
      if (value === undefined) throw new Error(`no number given for ${dim.dimParam} of ${input.name}`);
      dim.dimParam = null;
      dim.dimValue = value;
    }
  }
  return proto.onnx.ModelProto.encode(model).finish();
}
