/*
 * Bounds on what a model file may ask for. A file is input from strangers: every count and length read from it is held
 * against one of these before memory is spent.
 */

/** Nested messages; protobuf's own parsers stop at 100, so no deeper file can have been made or checked with them. */
export const MAX_DEPTH = 100;

/** Axes of a tensor. NumPy stops at 64 and ONNX operators need at most about ten. */
export const MAX_RANK = 64;

/** Elements of a tensor; 2^50 elements of 16 bytes still count exactly in a double. No storage holds more. */
export const MAX_ELEMENTS = 2 ** 49;

/** Nodes of a model, subgraphs and functions included. The largest real exports (unrolled LLMs) have about 10^5. */
export const MAX_NODES = 2 ** 20;

/** Elements of a list attribute. Tree ensembles, the longest real lists, have about 10^6; V8 aborts at 10^8. */
export const MAX_LIST = 2 ** 24;

/** Bytes of a name (node, value, operator, key). Exporters write module paths of a few hundred. */
export const MAX_NAME = 2 ** 16;

/** Bytes of a symbolic dim; longer texts are not expressions somebody wrote and are kept as opaque unknowns. */
export const MAX_DIM_PARAM = 512;

/** What an object of the IR is counted as when memory is charged: a node is an object, a map, two lists and a value. */
export const NODE_BYTES = 768;
export const OBJECT_BYTES = 192;

/**
 * Bytes the structure of a model may take in memory (names, attributes, inline data; weights stay in their file). The
 * largest real structures take about 100 MB; data in varint fields (`int32_data`) counts too because it must be decoded.
 */
export const MAX_RESIDENT = 2 ** 30;

/** Bytes of a protobuf message: sizes are int32 in every implementation. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** Newest IR version of the ONNX specification this program was written for. */
export const NEWEST_IR = 13;

/** Payloads up to this many bytes are read at once; larger ones are only located. */
export const INLINE_BYTES = 1024;

/** Unknown fields and metadata up to this many bytes are held; larger ones are only located. */
export const EXTRA_BYTES = 64 * 1024;
