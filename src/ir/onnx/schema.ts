/*
 * The fields of the ONNX messages (onnx.proto, IR version 13) that become part of the IR, by tag: field number times 8
 * plus wire type. Fields not listed are carried through as they are (`meta.ts`).
 */

const varint = (field: number): number => field * 8;
const len = (field: number): number => field * 8 + 2;
const fixed32 = (field: number): number => field * 8 + 5;

export const MODEL = {
  irVersion: varint(1),
  producerName: len(2),
  producerVersion: len(3),
  graph: len(7),
  opsetImport: len(8),
  metadataProps: len(14),
  docString: len(6),
  functions: len(25),
} as const;

export const OPSET = { domain: len(1), version: varint(2) } as const;

export const GRAPH = {
  node: len(1),
  name: len(2),
  initializer: len(5),
  input: len(11),
  output: len(12),
  valueInfo: len(13),
  sparseInitializer: len(15),
} as const;

export const NODE = {
  input: len(1),
  output: len(2),
  name: len(3),
  opType: len(4),
  attribute: len(5),
  domain: len(7),
  overload: len(8),
} as const;

export const ATTRIBUTE = {
  name: len(1),
  f: fixed32(2),
  i: varint(3),
  s: len(4),
  t: len(5),
  g: len(6),
  floats: fixed32(7),
  floatsPacked: len(7),
  ints: varint(8),
  intsPacked: len(8),
  strings: len(9),
  tensors: len(10),
  graphs: len(11),
  tp: len(14),
  typeProtos: len(15),
  type: varint(20),
  refAttrName: len(21),
  sparseTensor: len(22),
  sparseTensors: len(23),
} as const;

export const TENSOR = {
  dims: varint(1),
  dimsPacked: len(1),
  dataType: varint(2),
  floatData: len(4),
  int32Data: len(5),
  stringData: len(6),
  int64Data: len(7),
  name: len(8),
  rawData: len(9),
  doubleData: len(10),
  uint64Data: len(11),
  externalData: len(13),
  dataLocation: varint(14),
} as const;

/** Unpacked spellings of the typed data fields. */
export const TENSOR_UNPACKED = {
  floatData: fixed32(4),
  int32Data: varint(5),
  int64Data: varint(7),
  doubleData: 10 * 8 + 1,
  uint64Data: varint(11),
} as const;

export const SPARSE = { values: len(1), indices: len(2), dims: varint(3), dimsPacked: len(3) } as const;

export const ENTRY = { key: len(1), value: len(2) } as const;

export const VALUE_INFO = { name: len(1), type: len(2) } as const;

export const TYPE = {
  tensor: len(1),
  sequence: len(4),
  map: len(5),
  opaque: len(7),
  sparse: len(8),
  optional: len(9),
} as const;

/** `TypeProto.Tensor` and `TypeProto.SparseTensor`. */
export const TYPE_TENSOR = { elemType: varint(1), shape: len(2) } as const;
/** `TypeProto.Sequence` and `TypeProto.Optional`. */
export const TYPE_ELEMENT = { elemType: len(1) } as const;
export const TYPE_MAP = { keyType: varint(1), valueType: len(2) } as const;
export const TYPE_OPAQUE = { domain: len(1), name: len(2) } as const;
export const SHAPE = { dim: len(1) } as const;
export const DIMENSION = { value: varint(1), param: len(2) } as const;

export const FUNCTION = {
  name: len(1),
  input: len(4),
  output: len(5),
  attribute: len(6),
  node: len(7),
  opsetImport: len(9),
  domain: len(10),
  attributeProto: len(11),
  valueInfo: len(12),
  overload: len(13),
} as const;

/** `AttributeProto.AttributeType` codes by {@link Attr} kind. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse: 11,
  sparses: 12,
  type: 13,
  types: 14,
} as const;

/** `TensorProto.DataLocation.EXTERNAL`. */
export const EXTERNAL = 1;

/** The field number of a tag, as a bit for presence masks. */
export function fieldBit(tag: number): number {
  return 1 << (tag >>> 3);
}
