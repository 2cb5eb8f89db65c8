import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { encodeModel, fileReader, readModel, writeModel } from "../../../src/ir/onnx/index.ts";
import { layOut } from "../../../src/ir/onnx/layout.ts";
import { writeModelProto } from "../../../src/ir/onnx/write-graph.ts";
import {
  derivedTensor,
  f32Tensor,
  i64Tensor,
  inlineTensor,
  type Tensor,
  type TensorReader,
} from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";

const root = mkdtempSync(join(tmpdir(), "diffpress-write-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const bytesOf = (n: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: n }, (_, i) => (i * 7 + seed) & 0x7f);
const f32 = (elements: number, seed: number): Tensor =>
  inlineTensor("f32", [elements], bytesOf(elements * 4, seed));
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function modelOf(weights: Readonly<Record<string, Tensor>>): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", ["N"]);
  for (const [name, t] of Object.entries(weights)) b.constant(t, name);
  b.output(b.node("Relu", [x]), "y", tensorType("f32", ["N"]));
  return b.build();
}

/** A reader that makes derived tensors from their parameter, as slowly as `delay` says. */
function derivingReader(delay: (seed: number) => number = () => 0): TensorReader & { most: number } {
  const files = fileReader();
  let running = 0;
  const self = {
    most: 0,
    async read(t: Tensor): Promise<Uint8Array> {
      if (t.source.kind !== "derived") return await files.read(t);
      self.most = Math.max(self.most, ++running);
      const seed = Number(t.source.derivation.params);
      await new Promise((done) => setTimeout(done, delay(seed)));
      running--;
      return bytesOf(t.dims[0]! * 4, seed);
    },
  };
  return self;
}
const derived = (elements: number, seed: number): Tensor =>
  derivedTensor({
    kernel: "test",
    version: 1,
    params: seed,
    inputs: [],
    outputs: [{ dtype: "f32", dims: [elements] }],
  });

describe("where tensors go", () => {
  const weights = {
    small: f32(255, 1),
    large: f32(3000, 2),
    shape: i64Tensor(Array.from({ length: 1000 }, (_, i) => i)),
    quantized: inlineTensor("i8", [2000], bytesOf(2000, 3)),
    second: f32(300, 4),
  };
  const places = (written: Awaited<ReturnType<typeof writeModel>>): Record<string, unknown> =>
    Object.fromEntries(
      written.tensors.map((t) => [t.name, t.location === "inline" ? "inline" : t.location.offset]),
    );

  test("a small model is one file", async () => {
    const written = await writeModel(modelOf(weights), join(folder, "model.onnx"), { reader: fileReader() });
    expect(new Set(Object.values(places(written)))).toEqual(new Set(["inline"]));
    expect(readdirSync(folder)).toEqual(["model.onnx"]);
  });

  test("large tensors lie at aligned offsets beside it, small and index ones stay inside", async () => {
    const written = await writeModel(modelOf(weights), join(folder, "model.onnx"), {
      reader: fileReader(),
      external: { total: 0 },
    });
    expect(places(written)).toEqual({
      small: "inline",
      large: 0,
      shape: "inline",
      quantized: 12032,
      second: 14080,
    });
    expect(readdirSync(folder)).toEqual(["model.onnx", "model.onnx.data"]);
    const data = readFileSync(join(folder, "model.onnx.data"));
    expect(data.length).toBe(14080 + 1200);
    expect(data.subarray(12000, 12032).every((b) => b === 0)).toBe(true);
    expect(written.files).toEqual([
      {
        path: "model.onnx",
        bytes: statSync(join(folder, "model.onnx")).size,
        sha256: sha256(readFileSync(join(folder, "model.onnx"))),
      },
      { path: "model.onnx.data", bytes: data.length, sha256: sha256(data) },
    ]);
    for (const t of written.tensors) {
      const source = weights[t.name as keyof typeof weights].source;
      if (source.kind !== "inline") throw new Error("not inline");
      expect(t.sha256).toBe(sha256(source.bytes));
      if (t.location !== "inline")
        expect(
          Buffer.compare(data.subarray(t.location.offset, t.location.offset + t.bytes), source.bytes),
        ).toBe(0);
    }
  });

  test("threshold, alignment and the name of the data file can be chosen; one file can be asked for", async () => {
    const written = await writeModel(modelOf(weights), join(folder, "model.onnx"), {
      reader: fileReader(),
      external: { threshold: 2000, align: 64, total: 0, file: "weights.bin" },
    });
    expect(places(written)).toEqual({
      small: "inline",
      large: 0,
      shape: "inline",
      quantized: 12032,
      second: "inline",
    });
    expect(readdirSync(folder)).toEqual(["model.onnx", "weights.bin"]);
    const big = modelOf({ first: f32(1001, 1), w: f32(400_000, 1), v: f32(4_000_000, 2) });
    const split = await writeModel(big, join(folder, "split.onnx"), { reader: fileReader() });
    expect(split.files).toHaveLength(2);
    // From a mebibyte on tensors begin at pages.
    expect(places(split)).toEqual({ first: 0, w: 4096, v: 1_605_632 });
    const little = await writeModel(modelOf({ w: f32(400_000, 1) }), join(folder, "little.onnx"), {
      reader: fileReader(),
    });
    expect(little.files).toHaveLength(1);
    const single = await writeModel(big, join(folder, "single.onnx"), {
      reader: fileReader(),
      external: false,
    });
    expect(single.files).toHaveLength(1);
    expect(single.files[0]!.bytes).toBeGreaterThan(17_600_000);
  });

  test("what is written is read back", async () => {
    await writeModel(modelOf(weights), join(folder, "model.onnx"), {
      reader: fileReader(),
      external: { total: 0 },
    });
    const back = await readModel(join(folder, "model.onnx"));
    for (const v of back.graph.values()) {
      if (v.init === null) continue;
      const want = weights[v.name as keyof typeof weights];
      expect([v.init.dtype, v.init.dims]).toEqual([want.dtype, want.dims]);
      expect(await fileReader().read(v.init)).toEqual(await fileReader().read(want));
    }
  });

  test("outputs of one derivation and equal tensors are stored once", async () => {
    const t = derived(1000, 5);
    if (t.source.kind !== "derived") throw new Error("not derived");
    const same = derivedTensor(t.source.derivation);
    const written = await writeModel(
      modelOf({ a: t, b: t, c: same, d: derived(1000, 5) }),
      join(folder, "m.onnx"),
      {
        reader: derivingReader(),
        external: { total: 0 },
      },
    );
    expect(places(written)).toEqual({ a: 0, b: 0, c: 0, d: 4032 });
    expect(new Set(written.tensors.map((w) => w.sha256))).toEqual(new Set([sha256(bytesOf(4000, 5))]));
  });
});

test("offsets beyond 2 GiB and 4 GiB are laid out and encoded exactly", () => {
  const model = modelOf({
    a: derived(2 ** 29 + 1, 1),
    b: derived(2 ** 29, 2),
    c: derived(2 ** 29, 3),
    d: derived(500, 4),
  });
  const layout = layOut(model, "m.data", {});
  const step = 2 ** 31 + 4096;
  expect(layout.external.map((e) => e.offset)).toEqual([0, step, step + 2 ** 31, step + 2 ** 32]);
  expect(layout.externalBytes).toBe(step + 2 ** 32 + 2000);
  const proto = writeModelProto(model, layout.place);
  const [bytes] = proto.parts();
  expect(Buffer.from(bytes as Uint8Array).includes(String(step + 2 ** 32))).toBe(true);
});

describe("order and determinism", () => {
  test("tensors that finish out of order are written in order, a few at a time", async () => {
    const weights = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`w${i}`, derived(500, i)]));
    const reader = derivingReader((seed) => (12 - seed) * 3);
    const slow = await writeModel(modelOf(weights), join(folder, "a.onnx"), {
      reader,
      external: { total: 0, file: "d" },
    });
    expect(reader.most).toBeGreaterThan(1);
    expect(reader.most).toBeLessThanOrEqual(4);
    const fast = await writeModel(modelOf(weights), join(folder, "a.onnx"), {
      reader: derivingReader(),
      external: { total: 0, file: "d" },
    });
    expect(slow).toEqual(fast);
    expect(slow.tensors[7]!.sha256).toBe(sha256(bytesOf(2000, 7)));
  });

  test("memory and file encodings are the same bytes, derived tensors included", async () => {
    const model = modelOf({ a: derived(500, 1), b: f32(10, 2) });
    await writeModel(model, join(folder, "m.onnx"), { reader: derivingReader(), external: false });
    const encoded = await encodeModel(model, derivingReader());
    expect(Buffer.compare(readFileSync(join(folder, "m.onnx")), encoded)).toBe(0);
  });

  test("progress counts every byte", async () => {
    const seen: number[] = [];
    let total = 0;
    const written = await writeModel(modelOf({ a: f32(3000, 1), b: f32(3000, 2) }), join(folder, "m.onnx"), {
      reader: fileReader(),
      external: { total: 0 },
      onProgress: (p) => {
        seen.push(p.bytesDone);
        total = p.bytesTotal;
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(total);
    expect(total).toBe(written.files.reduce((sum, f) => sum + f.bytes, 0));
  });
});

describe("failures leave nothing", () => {
  const failing: TensorReader = {
    read: async () => {
      throw new Error("the kernel failed");
    },
  };

  test("a reader that fails", async () => {
    writeFileSync(join(folder, "m.onnx"), "before");
    const model = modelOf({ a: f32(3000, 1), b: derived(3000, 2), c: derived(3000, 3) });
    await expect(
      writeModel(model, join(folder, "m.onnx"), { reader: failing, external: { total: 0 } }),
    ).rejects.toThrow("the kernel failed");
    expect(readdirSync(folder)).toEqual(["m.onnx"]);
    expect(readFileSync(join(folder, "m.onnx"), "utf8")).toBe("before");
  });

  test("a reader that gives the wrong number of bytes", async () => {
    const short: TensorReader = { read: async () => new Uint8Array(8) };
    await expect(
      writeModel(modelOf({ a: derived(3000, 2) }), join(folder, "m.onnx"), { reader: short }),
    ).rejects.toThrow("expected 12000");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("source data that vanished or shrank", async () => {
    const model = modelOf({
      a: {
        dtype: "f32",
        dims: [3000],
        source: { kind: "file", path: join(folder, "gone"), offset: 0, length: 12000 },
      },
    });
    const write = (): Promise<unknown> =>
      writeModel(model, join(folder, "m.onnx"), { reader: fileReader(), external: { total: 0 } });
    await expect(write()).rejects.toMatchObject({ code: "TENSOR_UNREADABLE" });
    writeFileSync(join(folder, "gone"), Buffer.alloc(11_999));
    await expect(write()).rejects.toMatchObject({ code: "TENSOR_UNREADABLE" });
    expect(readdirSync(folder)).toEqual(["gone"]);
  });

  test("a folder that is missing or is a file", async () => {
    writeFileSync(join(folder, "file"), "");
    for (const path of ["no/m.onnx", "file/m.onnx"])
      await expect(
        writeModel(modelOf({ a: f32(4, 1) }), join(folder, path), { reader: fileReader() }),
      ).rejects.toMatchObject({
        code: "OUTPUT_UNWRITABLE",
        diagnostic: { details: { path: join(folder, path) } },
      });
  });

  test("a name that a folder has", async () => {
    mkdirSync(join(folder, "m.onnx"));
    await expect(
      writeModel(modelOf({ a: f32(3000, 1) }), join(folder, "m.onnx"), {
        reader: fileReader(),
        external: { total: 0 },
      }),
    ).rejects.toMatchObject({ code: "OUTPUT_UNWRITABLE" });
    expect(readdirSync(folder)).toEqual(["m.onnx"]);
  });

  test("2 GiB and more in one file", async () => {
    const t = derived(2 ** 29, 1);
    await expect(
      writeModel(modelOf({ a: t }), join(folder, "m.onnx"), { reader: failing, external: false }),
    ).rejects.toMatchObject({ code: "MODEL_TOO_LARGE" });
    await expect(encodeModel(modelOf({ a: t }), failing)).rejects.toMatchObject({ code: "MODEL_TOO_LARGE" });
  });
});

test("values read by subgraphs keep their meaning when names clash", async () => {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [2]);
  const c = b.input("c", "bool", []);
  const then = b.subgraph("then", (g) => {
    const own = g.constant(f32Tensor([5, 6]), "x");
    g.output(g.node("Add", [x, own]), "t", tensorType("f32", [2]));
  });
  const otherwise = b.subgraph("else", (g) => g.output(g.node("Neg", [x]), "e", tensorType("f32", [2])));
  b.output(b.node("If", [c], { then_branch: then, else_branch: otherwise }), "y", tensorType("f32", [2]));
  await writeModel(b.build(), join(folder, "m.onnx"), { reader: fileReader() });
  const back = await readModel(join(folder, "m.onnx"));
  const attr = [...back.graph.nodes()][0]!.attrs.get("then_branch");
  if (attr?.kind !== "graph") throw new Error("no graph");
  const [add] = attr.value.nodes();
  expect(add!.inputs[0]).toBe(back.graph.inputs[0]);
  expect(attr.value.constant(add!.inputs[1])).not.toBeNull();
});
