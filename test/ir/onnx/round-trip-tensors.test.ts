import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DTYPES, type DType } from "../../../src/ir/dtype.ts";
import { decodeModel, readModel } from "../../../src/ir/onnx/index.ts";
import {
  double,
  type Field,
  float,
  floats,
  graph,
  info,
  int,
  model,
  msg,
  node,
  packed,
  rawTensor,
  sub,
  tensorTypeProto,
} from "./proto.ts";
import { folder, roundTrip } from "./round-trip.ts";

describe("tensors", () => {
  const holding = (t: Uint8Array): Uint8Array => model(graph({ initializers: [t] }));
  const COUNT = 5;

  test.each(Object.keys(DTYPES) as DType[])("%s as raw_data and in its typed field", async (dtype) => {
    const { onnx, bits, kind } = DTYPES[dtype];
    const head = (): Field[] => [int(1, COUNT), int(2, onnx), sub(8, "w")];
    if (kind === "string") {
      const strings = ["a", "", "\u00e9", "d", "e"].map((s) => sub(6, s));
      expect(await roundTrip(holding(msg(head(), strings)))).toEqual([]);
      return;
    }
    const length = Math.ceil((COUNT * bits) / 8);
    const raw = Uint8Array.from({ length }, (_, i) => (i * 37 + 129) & 0xff);
    const view = new DataView(raw.buffer);
    const unit = kind === "complex" ? bits / 2 : bits;
    let field: Field;
    if ((kind === "float" || kind === "complex") && unit >= 32) field = sub(unit === 32 ? 4 : 10, raw);
    else {
      const width = Math.max(8, bits);
      const values = Array.from({ length: raw.length / (width / 8) }, (_, i) => {
        const at = (i * width) / 8;
        if (width === 64) return kind === "int" ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
        const signed = kind === "int" && bits >= 8;
        if (width === 32) return signed ? view.getInt32(at, true) : view.getUint32(at, true);
        if (width === 16) return signed ? view.getInt16(at, true) : view.getUint16(at, true);
        return signed ? view.getInt8(at) : view.getUint8(at);
      });
      const number = kind === "int" && bits === 64 ? 7 : kind === "uint" && bits >= 32 ? 11 : 5;
      const wrapped = values.map((v) => (typeof v === "bigint" ? BigInt.asIntN(64, v) : v));
      field = packed(number, wrapped);
    }
    for (const data of [sub(9, raw), field]) {
      const bytes = holding(msg(head(), data));
      const [value] = decodeModel(bytes).graph.values();
      expect(value!.init).toEqual({ dtype, dims: [COUNT], source: { kind: "inline", bytes: raw } });
      expect(await roundTrip(bytes)).toEqual([]);
    }
  });

  test.each<[string, Uint8Array]>([
    ["unpacked floats", msg(int(1, 2), int(2, 1), float(4, 1), float(4, 2), sub(8, "w"))],
    ["floats in two packed runs", msg(int(1, 2), int(2, 1), floats(4, [1]), sub(8, "w"), floats(4, [2]))],
    ["packed then unpacked", msg(int(1, 3), int(2, 6), packed(5, [1, -1]), int(5, 7), sub(8, "w"))],
    ["unpacked doubles", msg(int(1, 1), int(2, 11), double(10, 2.5), sub(8, "w"))],
    ["packed dims", msg(packed(1, [1, 2]), int(2, 1), floats(4, [1, 2]), sub(8, "w"))],
    ["scalar", msg(int(2, 1), floats(4, [1]), sub(8, "w"))],
    ["no elements and no data", msg(int(1, 0), int(2, 1), sub(8, "w"))],
    ["no elements, empty raw_data", msg(int(1, 0), int(2, 1), sub(8, "w"), sub(9, ""))],
    ["location said to be here", msg(int(1, 1), int(2, 1), sub(8, "w"), floats(4, [1]), int(14, 0))],
    ["no strings", msg(int(1, 0), int(2, 8), sub(8, "w"))],
  ])("%s", async (_, tensor) => {
    expect(await roundTrip(holding(tensor))).toEqual([]);
  });

  test("data above a kilobyte is located in the file, not read", async () => {
    const values = Array.from({ length: 1000 }, (_, i) => i / 7);
    const typed = msg(int(1, 1000), int(2, 1), sub(8, "typed"), floats(4, values));
    const bytes = model(graph({ initializers: [rawTensor("raw", values), typed] }));
    const path = join(folder, "located.onnx");
    writeFileSync(path, bytes);
    const read = await readModel(path);
    for (const v of read.graph.values()) {
      const { source } = v.init!;
      if (source.kind !== "file") throw new Error(`${v.name} is ${source.kind}`);
      expect(source.path).toBe(path);
      const at = bytes.subarray(source.offset, source.offset + source.length);
      expect(Buffer.compare(at, new Uint8Array(Float32Array.from(values).buffer))).toBe(0);
    }
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("sparse initializers", async () => {
    const sparse = (name: string, ...indices: Field[]): Field =>
      sub(15, msg(sub(1, rawTensor(name, [1, 2])), sub(2, msg(...indices, int(2, 7))), packed(3, [4, 3])));
    const bytes = model(
      graph({
        nodes: [node("Add", ["flat", "pairs"], ["y"])],
        more: [
          sparse("flat", int(1, 2), packed(7, [0, 11])),
          sparse("pairs", int(1, 2), int(1, 2), packed(7, [0, 1, 3, 2])),
        ],
      }),
    );
    const values = [...decodeModel(bytes).graph.values()];
    expect(values.map((v) => [v.name, v.sparse?.dims, v.sparse?.indices.dims])).toEqual([
      ["flat", [4, 3], [2]],
      ["pairs", [4, 3], [2, 2]],
      ["y", undefined, undefined],
    ]);
    expect(await roundTrip(bytes)).toEqual([]);
  });
});

describe("types", () => {
  const tensor = (dims: Parameters<typeof tensorTypeProto>[1]): Uint8Array => tensorTypeProto(1, dims);
  const cases: Record<string, Uint8Array | null> = {
    none: null,
    empty: msg(),
    "no rank": tensor(null),
    scalar: tensor([]),
    "named and unnamed dims": tensor(["N", null, 3, 0]),
    "dim expressions": tensor(["batch", "2*height", "floor((width - 1)/2) + 1", "unk__5", "a b", "?"]),
    "minus one": tensor([-1]),
    "name and number": msg(sub(1, msg(int(1, 1), sub(2, msg(sub(1, msg(int(1, 3), sub(2, "N")))))))),
    "empty name": tensor([""]),
    sequence: msg(sub(4, msg(sub(1, tensor([1]))))),
    "sequence of nothing": msg(sub(4, msg())),
    optional: msg(sub(9, msg(sub(1, msg(sub(4, msg(sub(1, tensor(null))))))))),
    map: msg(sub(5, msg(int(1, 7), sub(2, tensor([2]))))),
    sparse: msg(sub(8, msg(int(1, 1), sub(2, msg(sub(1, msg(int(1, 9)))))))),
    opaque: msg(sub(7, msg(sub(1, "org.example"), sub(2, "blob")))),
    "element type of the future": msg(sub(1, msg(int(1, 99)))),
    "no element type": msg(sub(1, msg(sub(2, msg())))),
  };
  test.each(Object.entries(cases))("%s", async (_, t) => {
    const bytes = model(
      graph({
        nodes: [node("Identity", ["x"], ["h"]), node("Identity", ["h"], ["y"])],
        inputs: [info("x", t)],
        outputs: [info("y", t)],
        more: [sub(13, info("h", t))],
      }),
    );
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("unnamed dims are different unknowns", () => {
    const bytes = model(graph({ inputs: [info("x", tensor([null, null])), info("y", tensor([null, "?"]))] }));
    const dims = [...decodeModel(bytes).graph.values()].flatMap((v) =>
      v.type?.kind === "tensor" ? [...(v.type.shape ?? [])] : [],
    );
    expect(new Set(dims).size).toBe(4);
    expect(dims.every((d) => String(d).startsWith("?"))).toBe(true);
  });
});
