import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { DiffpressError } from "../../../src/diagnostics/index.ts";
import { fileReader, readModel, writeModel } from "../../../src/ir/onnx/index.ts";
import { entry, graph, int, model, msg, sub } from "./proto.ts";

const root = mkdtempSync(join(tmpdir(), "diffpress-external-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

interface Entry {
  readonly name: string;
  readonly location: string;
  readonly offset?: string;
  readonly length?: string;
  readonly dims?: readonly number[];
  readonly more?: readonly Uint8Array[];
}

/** A model whose f32 initializers are external, as asked. */
function externalModel(...entries: readonly Entry[]): Uint8Array {
  return model(
    graph({
      initializers: entries.map((e) =>
        msg(
          (e.dims ?? [4]).map((d) => int(1, d)),
          int(2, 1),
          sub(8, e.name),
          entry(13, "location", e.location),
          e.offset === undefined ? [] : entry(13, "offset", e.offset),
          e.length === undefined ? [] : entry(13, "length", e.length),
          [...(e.more ?? [])],
          int(14, 1),
        ),
      ),
    }),
  );
}

function put(bytes: Uint8Array): string {
  const path = join(folder, "model.onnx");
  writeFileSync(path, bytes);
  return path;
}

const floats = (...v: number[]): Uint8Array => new Uint8Array(Float32Array.from(v).buffer);

async function values(path: string): Promise<Record<string, number[]>> {
  const out: Record<string, number[]> = {};
  for (const v of (await readModel(path)).graph.values()) {
    const bytes = await fileReader().read(v.init!);
    out[v.name] = [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)];
  }
  return out;
}

/** Code and details of the diagnostic that reading gives. */
async function refused(path: string): Promise<{ code: string; details: unknown }> {
  try {
    await readModel(path);
  } catch (e) {
    if (e instanceof DiffpressError) return { code: e.code, details: e.diagnostic.details };
    throw e;
  }
  throw new Error("the model was read");
}

describe("where external data may be", () => {
  test("several files, folders below, offsets, lengths and none", async () => {
    mkdirSync(join(folder, "weights"));
    writeFileSync(join(folder, "a.bin"), floats(0, 1, 2, 3, 4, 5));
    writeFileSync(join(folder, "weights", "b.bin"), floats(9, 8, 7, 6));
    const path = put(
      externalModel(
        { name: "tail", location: "a.bin", offset: "8", length: "16" },
        { name: "head", location: "./a.bin" },
        { name: "below", location: "weights/b.bin", offset: "0" },
      ),
    );
    expect(await values(path)).toEqual({ tail: [2, 3, 4, 5], head: [0, 1, 2, 3], below: [9, 8, 7, 6] });
  });

  test("model and data both behind links into one store", async () => {
    const store = join(folder, "store");
    mkdirSync(store);
    mkdirSync(join(folder, "snapshot"));
    writeFileSync(join(store, "1234"), externalModel({ name: "w", location: "model.onnx_data" }));
    writeFileSync(join(store, "5678"), floats(1, 2, 3, 4));
    symlinkSync("../store/1234", join(folder, "snapshot", "model.onnx"));
    symlinkSync("../store/5678", join(folder, "snapshot", "model.onnx_data"));
    expect(await values(join(folder, "snapshot", "model.onnx"))).toEqual({ w: [1, 2, 3, 4] });
  });

  test.each([
    ["../secret", "climbs"],
    ["a/../../secret", "climbs"],
    ["..\\secret", "climbs"],
    ["/etc/hostname", "absolute"],
    ["C:\\windows", "absolute"],
    ["\\\\server\\share", "absolute"],
    ["a\0b", "zero byte"],
  ])("refuses %j", async (location, why) => {
    writeFileSync(join(root, "secret"), floats(1, 2, 3, 4));
    const { code, details } = await refused(put(externalModel({ name: "w", location })));
    expect(code).toBe("EXTERNAL_DATA_OUTSIDE");
    expect(details).toMatchObject({ tensor: "w", location, problem: expect.stringContaining(why) });
  });

  test("refuses links that lead outside, for files and for folders on the way", async () => {
    writeFileSync(join(root, "secret"), floats(1, 2, 3, 4));
    symlinkSync(join(root, "secret"), join(folder, "link"));
    symlinkSync(root, join(folder, "dir"));
    for (const location of ["link", "dir/secret"])
      expect(await refused(put(externalModel({ name: "w", location })))).toMatchObject({
        code: "EXTERNAL_DATA_OUTSIDE",
        details: { problem: expect.stringContaining("symbolic link") },
      });
  });

  test("a hard link is a file like any other", async () => {
    writeFileSync(join(folder, "a"), floats(1, 2, 3, 4));
    linkSync(join(folder, "a"), join(folder, "b"));
    expect(await values(put(externalModel({ name: "w", location: "b" })))).toEqual({ w: [1, 2, 3, 4] });
  });

  test("missing files, folders and empty names", async () => {
    mkdirSync(join(folder, "dir"));
    expect(await refused(put(externalModel({ name: "w", location: "no.bin" })))).toMatchObject({
      code: "EXTERNAL_DATA_MISSING",
      details: { location: "no.bin", problem: "no such file or folder" },
    });
    expect((await refused(put(externalModel({ name: "w", location: "dir" })))).code).toBe(
      "EXTERNAL_DATA_MISSING",
    );
    expect((await refused(put(externalModel({ name: "w", location: "" })))).code).toBe("ONNX_TENSOR_INVALID");
  });
});

describe("what external data must hold", () => {
  test("a file that is too short, by a byte or by an offset near 2^53", async () => {
    writeFileSync(join(folder, "a.bin"), floats(1, 2, 3, 4));
    expect(
      await refused(put(externalModel({ name: "w", location: "a.bin", offset: "1", length: "16" }))),
    ).toMatchObject({ code: "EXTERNAL_DATA_SHORT", details: { end: 17, size: 16, location: "a.bin" } });
    expect(
      (await refused(put(externalModel({ name: "w", location: "a.bin", offset: "9007199254740991" })))).code,
    ).toBe("EXTERNAL_DATA_SHORT");
  });

  test.each(["-1", "1e3", "0x10", "9007199254740993", "99999999999999999999", " 1", ""])(
    "refuses offset %j",
    async (offset) => {
      writeFileSync(join(folder, "a.bin"), floats(1, 2, 3, 4));
      expect(await refused(put(externalModel({ name: "w", location: "a.bin", offset })))).toMatchObject({
        code: "ONNX_TENSOR_INVALID",
        details: { tensor: "w", problem: expect.stringContaining("offset") },
      });
    },
  );

  test("a length that is not what dims and type need", async () => {
    writeFileSync(join(folder, "a.bin"), floats(1, 2, 3, 4));
    for (const length of ["12", "20"])
      expect((await refused(put(externalModel({ name: "w", location: "a.bin", length })))).code).toBe(
        "ONNX_TENSOR_INVALID",
      );
  });

  test.each([
    ["2 GiB", 2 ** 31 + 4096],
    ["4 GiB", 2 ** 32 + 4096],
    ["1 TiB", 2 ** 40],
  ])("offsets beyond %s", async (_, offset) => {
    const data = openSync(join(folder, "big.bin"), "w");
    ftruncateSync(data, offset + 16);
    writeSync(data, floats(1, 2, 3, 4), 0, 16, offset);
    closeSync(data);
    const path = put(externalModel({ name: "w", location: "big.bin", offset: String(offset) }));
    expect(await values(path)).toEqual({ w: [1, 2, 3, 4] });
  });

  test("a tensor of 5 GiB is described without being read", async () => {
    const data = openSync(join(folder, "big.bin"), "w");
    ftruncateSync(data, 5 * 2 ** 30);
    closeSync(data);
    const dims = [5 * 2 ** 10, 2 ** 18];
    const read = await readModel(put(externalModel({ name: "w", location: "big.bin", dims })));
    expect([...read.graph.values()][0]!.init!.source).toMatchObject({ kind: "file", length: 5 * 2 ** 30 });
  });
});

test("rewriting keeps the content and further entries; equal ranges are stored once", async () => {
  writeFileSync(join(folder, "a.bin"), Buffer.alloc(8192, 7));
  const checksum = [entry(13, "checksum", "abc")];
  const dims = [512];
  const bytes = externalModel(
    { name: "w", location: "a.bin", offset: "0", length: "2048", dims, more: checksum },
    { name: "tied", location: "a.bin", offset: "0", length: "2048", dims },
    { name: "other", location: "a.bin", offset: "4096", length: "2048", dims },
  );
  const before = put(bytes);
  const after = join(folder, "out.onnx");
  const written = await writeModel(await readModel(before), after, {
    reader: fileReader(),
    external: { total: 0 },
  });
  expect(written.tensors.map((t) => [t.name, t.location])).toEqual([
    ["w", { file: "out.onnx.data", offset: 0 }],
    ["tied", { file: "out.onnx.data", offset: 0 }],
    ["other", { file: "out.onnx.data", offset: 2048 }],
  ]);
  expect(written.files.map((f) => [f.path, f.bytes])).toEqual([
    ["out.onnx", readFileSync(after).length],
    ["out.onnx.data", 2048 + 2048],
  ]);
  expect(compareModels(bytes, readFileSync(after), { before, after })).toEqual([]);
});
