import { Writer } from "protobufjs/minimal.js";

/** One encoded field. */
export type Field = Uint8Array;

const utf8 = new TextEncoder();

/** Concatenates fields into a message. */
export function msg(...fields: readonly (Field | readonly Field[])[]): Uint8Array {
  return Buffer.concat(fields.flat() as Uint8Array[]);
}
/** A length-delimited field. */
export function sub(field: number, content: Uint8Array | string): Field {
  const bytes = typeof content === "string" ? utf8.encode(content) : content;
  return Writer.create()
    .uint32(field * 8 + 2)
    .bytes(bytes)
    .finish();
}
/** A varint field; negative numbers take ten bytes, as protobuf writes int64. */
export function int(field: number, value: number | bigint): Field {
  return Writer.create()
    .uint32(field * 8)
    .int64(typeof value === "bigint" ? value.toString() : value)
    .finish();
}
/** A 32-bit float field. */
export function float(field: number, value: number): Field {
  return Writer.create()
    .uint32(field * 8 + 5)
    .float(value)
    .finish();
}
/** A 64-bit float field. */
export function double(field: number, value: number): Field {
  return Writer.create()
    .uint32(field * 8 + 1)
    .double(value)
    .finish();
}
/** Packed varints. */
export function packed(field: number, values: readonly (number | bigint)[]): Field {
  const w = Writer.create();
  for (const v of values) w.int64(typeof v === "bigint" ? v.toString() : v);
  return sub(field, w.finish());
}
/** Packed floats. */
export function floats(field: number, values: readonly number[]): Field {
  return sub(field, new Uint8Array(Float32Array.from(values).buffer));
}
/** A group with one varint field inside: deprecated, but protobuf. */
function group(field: number): Field {
  return Writer.create()
    .uint32(field * 8 + 3)
    .uint32(8)
    .uint32(5)
    .uint32(field * 8 + 4)
    .finish();
}
/** Key and value. */
export function entry(field: number, key: string, value: string): Field {
  return sub(field, msg(sub(1, key), sub(2, value)));
}
/** Fields no version of ONNX defines, one per wire type. */
export function unknown(): Field[] {
  return [int(900, 7), double(901, 0.5), sub(902, "kept"), group(903), float(904, 2), int(900, 8)];
}

/** A TypeProto of a dense tensor; dims are numbers, names, or `null` for an unnamed one. */
export function tensorTypeProto(elem: number, dims: readonly (number | string | null)[] | null): Uint8Array {
  const shape =
    dims === null
      ? []
      : [
          sub(
            2,
            msg(
              dims.map((d) =>
                sub(1, d === null ? msg() : typeof d === "number" ? msg(int(1, d)) : msg(sub(2, d))),
              ),
            ),
          ),
        ];
  return msg(sub(1, msg(int(1, elem), ...shape)));
}
/** A ValueInfoProto. */
export function info(name: string, type: Uint8Array | null, ...more: Field[]): Uint8Array {
  return msg(sub(1, name), type === null ? [] : sub(2, type), more);
}
/** A NodeProto. */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  ...more: Field[]
): Uint8Array {
  return msg(
    inputs.map((i) => sub(1, i)),
    outputs.map((o) => sub(2, o)),
    sub(4, op),
    more,
  );
}
/** An f32 vector as TensorProto with raw_data. */
export function rawTensor(name: string, values: readonly number[], ...more: Field[]): Uint8Array {
  return msg(
    int(1, values.length),
    int(2, 1),
    sub(8, name),
    sub(9, new Uint8Array(Float32Array.from(values).buffer)),
    more,
  );
}
/** A GraphProto. */
export function graph(parts: {
  readonly name?: string;
  readonly nodes?: readonly Uint8Array[];
  readonly inputs?: readonly Uint8Array[];
  readonly outputs?: readonly Uint8Array[];
  readonly initializers?: readonly Uint8Array[];
  readonly more?: readonly Field[];
}): Uint8Array {
  return msg(
    (parts.nodes ?? []).map((n) => sub(1, n)),
    sub(2, parts.name ?? "g"),
    (parts.initializers ?? []).map((t) => sub(5, t)),
    (parts.inputs ?? []).map((i) => sub(11, i)),
    (parts.outputs ?? []).map((o) => sub(12, o)),
    [...(parts.more ?? [])],
  );
}
/** A ModelProto of IR version 10 and opset 21. */
export function model(g: Uint8Array, ...more: Field[]): Uint8Array {
  return msg(int(1, 10), sub(7, g), sub(8, msg(sub(1, ""), int(2, 21))), more);
}
/** `x -> Relu -> y` with room for more. */
export function reluModel(more: readonly Field[] = [], graphMore: readonly Field[] = []): Uint8Array {
  const type = tensorTypeProto(1, [2]);
  return model(
    graph({
      nodes: [node("Relu", ["x"], ["y"])],
      inputs: [info("x", type)],
      outputs: [info("y", type)],
      more: graphMore,
    }),
    ...more,
  );
}
