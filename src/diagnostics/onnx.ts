import { error } from "./define.ts";

/** Codes of this area; see `define.ts` for the order of a message. */
export const onnxCodes = {
  ONNX_UNREADABLE: error<{ file: string; problem: string }>(
    (d) =>
      `${d.file}: ${d.problem}. Expected a readable ONNX model file; check the path and its permissions.`,
  ),
  ONNX_TRUNCATED: error<{ file: string; offset: number; expected: number; size: number }>(
    (d) =>
      `${d.file}: at byte ${d.offset} the model announces ${d.expected} more bytes, but the file ends at ${d.size}. Expected a complete file; copy or download it again.`,
  ),
  ONNX_MALFORMED: error<{ file: string; offset: number; problem: string }>(
    (d) =>
      `${d.file}: ${d.problem} (byte ${d.offset}). Expected a protobuf-encoded ONNX model; export or download it again.`,
  ),
  ONNX_LIMIT: error<{
    file: string;
    offset: number;
    what: string;
    found: number;
    limit: number;
    why: string;
  }>(
    (d) =>
      `${d.file}: ${d.what} is ${d.found}, the limit is ${d.limit} (byte ${d.offset}): ${d.why}. If the model is real, report it; otherwise do not trust the file.`,
  ),
  ONNX_VERSION: error<{ file: string; found: number; newest: number }>(
    (d) =>
      `${d.file}: IR version ${d.found}, expected 1 to ${d.newest}. Export the model with an ONNX release this program knows, or update the program.`,
  ),
  ONNX_DTYPE_UNKNOWN: error<{ file: string; offset: number; tensor: string; code: number }>(
    (d) =>
      `${d.file}: tensor "${d.tensor}" has element type ${d.code}, which ONNX IR version 13 does not define (byte ${d.offset}). Export the model again or update the program.`,
  ),
  ONNX_TENSOR_INVALID: error<{ file: string; offset: number; tensor: string; problem: string }>(
    (d) =>
      `${d.file}: tensor "${d.tensor}" ${d.problem} (byte ${d.offset}). Expected dims, element type and data that agree; export the model again.`,
  ),
  EXTERNAL_DATA_OUTSIDE: error<{
    file: string;
    offset: number;
    tensor: string;
    location: string;
    problem: string;
  }>(
    (d) =>
      `${d.file}: tensor "${d.tensor}" keeps its data in "${d.location}": ${d.problem} (byte ${d.offset}). Expected a relative path inside the model's folder; save the model with its data file beside it.`,
  ),
  EXTERNAL_DATA_MISSING: error<{
    file: string;
    offset: number;
    tensor: string;
    location: string;
    problem: string;
  }>(
    (d) =>
      `${d.file}: the data of tensor "${d.tensor}" should be in "${d.location}", but ${d.problem} (byte ${d.offset}). Put the data file beside the model; it belongs to it.`,
  ),
  EXTERNAL_DATA_SHORT: error<{
    file: string;
    offset: number;
    tensor: string;
    location: string;
    end: number;
    size: number;
  }>(
    (d) =>
      `${d.file}: tensor "${d.tensor}" needs "${d.location}" up to byte ${d.end}, but that file has ${d.size} bytes (byte ${d.offset}). Copy or download the data file again.`,
  ),
  GRAPH_DUPLICATE: error<{ file: string; offset: number; graph: string; what: string; name: string }>(
    (d) =>
      `${d.file}: ${d.what} "${d.name}" is defined twice in graph "${d.graph}" (byte ${d.offset}). Expected every name to be made once; re-export the model.`,
  ),
  GRAPH_UNDEFINED: error<{ file: string; offset: number; graph: string; node: string; name: string }>(
    (d) =>
      `${d.file}: ${d.node} of graph "${d.graph}" reads "${d.name}", which nothing makes (byte ${d.offset}). Expected a graph input, an initializer or another node's output; re-export the model.`,
  ),
  MODEL_TOO_LARGE: error<{ path: string; bytes: number; limit: number }>(
    (d) =>
      `${d.path}: the model file would hold ${d.bytes} bytes, protobuf allows ${d.limit}. Allow external data, or fold large Constant nodes into initializers.`,
  ),
  OUTPUT_UNWRITABLE: error<{ path: string; problem: string }>(
    (d) =>
      `cannot write ${d.path}: ${d.problem}. Expected a writable folder; choose another output or fix its permissions.`,
  ),
  DISK_FULL: error<{ path: string; bytes: number }>(
    (d) =>
      `no space left for ${d.path}, which needs ${d.bytes} bytes in all. Nothing was changed; free space or write to another disk.`,
  ),
};
