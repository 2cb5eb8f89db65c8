import { mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { f32Tensor, type Tensor } from "../../src/ir/tensor.ts";
import { byteBudget } from "../../src/runtime/budget.ts";
import { peakBytes } from "../../src/runtime/evaluate.ts";
import { canonicalJson } from "../../src/runtime/hash.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { quantizeBlocks } from "../../src/runtime/kernels/quantize-blocks.ts";
import { quantizeChannel } from "../../src/runtime/kernels/quantize-channel.ts";
import { transposeTensor } from "../../src/runtime/kernels/transpose.ts";
import { weights } from "./kernels/evaluate.ts";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "diffpress-test-"));
  file = join(folder, "weights");
  await writeFile(file, new Uint8Array(weights(64 * 48).buffer));
});
afterAll(() => rm(folder, { recursive: true }));

const stored = (dims: readonly number[] = [64, 48]): Tensor => ({
  dtype: "f32",
  dims,
  source: { kind: "file", path: file, offset: 0, length: 64 * 48 * 4 },
});

async function using<T>(
  options: Parameters<typeof createRuntime>[0],
  use: (r: Runtime) => Promise<T>,
): Promise<T> {
  const runtime = await createRuntime(options);
  try {
    return await use(runtime);
  } finally {
    await runtime.close();
  }
}

/** Tensors of every kind that share inputs and evaluations. */
function assortment(): Tensor[] {
  const t = stored();
  const blocks = quantizeBlocks(t, { bits: 4, blockSize: 32, order: "KN", symmetric: false, search: "l2.4" });
  const channels = quantizeChannel(transposeTensor(t), { bits: 8, axis: 0, search: "mse" });
  return [
    t,
    f32Tensor(weights(100, 4)),
    castTensor(t, "f16"),
    transposeTensor(castTensor(t, "bf16")),
    blocks.packed,
    channels.scale,
    blocks.scales,
    channels.data,
    blocks.zeroPoints!,
    channels.zeroPoint,
    castTensor(transposeTensor(t), "f8e4m3fn"),
  ];
}

describe("the same bytes whatever makes them", () => {
  test("0, 1 and 4 workers, all at once or in order", async () => {
    const digest = async (workers: number, ordered: boolean): Promise<string[]> =>
      await using({ workers }, async (r) => {
        const tensors = assortment();
        if (ordered) {
          const out: string[] = [];
          for (const t of tensors) out.push(Buffer.from(await r.reader.read(t)).toString("base64"));
          return out;
        }
        const all = await Promise.all(tensors.map((t) => r.reader.read(t)));
        return all.map((b) => Buffer.from(b).toString("base64"));
      });
    const want = await digest(0, false);
    expect(want.every((w) => w.length > 0)).toBe(true);
    for (const workers of [0, 1, 4]) expect(await digest(workers, true)).toEqual(want);
    for (const workers of [1, 4]) expect(await digest(workers, false)).toEqual(want);
  });

  test("outputs of one derivation share one evaluation, in any order and when read twice", async () => {
    await using({ workers: 0 }, async (r) => {
      const q = quantizeChannel(stored(), { bits: 8, axis: 0 });
      const [data, scale, again] = await Promise.all([q.data, q.scale, q.data].map((t) => r.reader.read(t)));
      expect(again).toEqual(data);
      expect(scale!.length).toBe(64 * 4);
      expect(await r.reader.read(q.zeroPoint)).toEqual(new Uint8Array(64));
      expect(r.stats.evaluations).toBe(1);
      expect(await r.reader.read(q.scale)).toEqual(scale);
      expect(r.stats.evaluations).toBe(2);
    });
  });

  test("inline bytes that are a part of a larger buffer reach a worker alone and stay usable", async () => {
    await using({ workers: 1 }, async (r) => {
      const all = new Uint8Array(weights(1000).buffer);
      const part: Tensor = {
        dtype: "f32",
        dims: [10],
        source: { kind: "inline", bytes: all.subarray(400, 440) },
      };
      const first = await r.reader.read(castTensor(part, "f16"));
      expect(await r.reader.read(castTensor(part, "f16"))).toEqual(first);
      expect(all.length).toBe(4000);
    });
  });
});

describe("failures", () => {
  test.each([0, 1])("a coded error keeps its code on the way from a worker (%d)", async (workers) => {
    await using({ workers }, async (r) => {
      const q = quantizeChannel(f32Tensor([1, Infinity]), { bits: 8, axis: null });
      await expect(r.reader.read(q.data)).rejects.toMatchObject({
        code: "WEIGHT_NOT_FINITE",
        diagnostic: { details: { index: 1, value: "Infinity" } },
      });
      // The failure is not remembered as a result, and the pool goes on.
      await expect(r.reader.read(q.scale)).rejects.toMatchObject({ code: "WEIGHT_NOT_FINITE" });
      expect((await r.reader.read(castTensor(f32Tensor([1]), "f16"))).length).toBe(2);
    });
  });

  test.each([0, 1])("files that shrank or went (%d workers)", async (workers) => {
    const short = join(folder, `short-${workers}`);
    await writeFile(short, new Uint8Array(100));
    const t: Tensor = {
      dtype: "f32",
      dims: [25],
      source: { kind: "file", path: short, offset: 0, length: 100 },
    };
    await truncate(short, 60);
    await using({ workers }, async (r) => {
      const failure = { code: "TENSOR_UNREADABLE", diagnostic: { details: { file: short, length: 100 } } };
      await expect(r.reader.read(t)).rejects.toMatchObject(failure);
      await expect(r.reader.read(castTensor(t, "f16"))).rejects.toMatchObject(failure);
      await rm(short);
      await expect(r.hash(t)).rejects.toMatchObject(failure);
    });
  });

  test("a kernel of another version is a bug, not a result", async () => {
    await using({ workers: 0 }, async (r) => {
      const t = castTensor(f32Tensor([1]), "f16");
      if (t.source.kind !== "derived") throw new Error("not derived");
      const derivation = { ...t.source.derivation, version: 99 };
      await expect(r.reader.read({ ...t, source: { ...t.source, derivation } })).rejects.toThrow(
        "version 99",
      );
    });
  });
});

describe("memory budget", () => {
  test("a tensor that cannot fit is refused before anything is read", async () => {
    await using({ workers: 0, maxMemory: 20_000 }, async (r) => {
      const big = castTensor(stored(), "f16");
      await expect(r.reader.read(big)).rejects.toMatchObject({
        code: "TENSOR_TOO_LARGE",
        diagnostic: { details: { limit: 20_000 } },
      });
      await expect(
        r.reader.read({
          ...stored(),
          dims: [6000, 1000],
          source: { kind: "file", path: file, offset: 0, length: 24e6 },
        }),
      ).rejects.toMatchObject({ code: "TENSOR_TOO_LARGE" });
      expect(r.stats.evaluations).toBe(0);
    });
  });

  test("a weight that could never be made is known before any is", async () => {
    await using({ workers: 0, maxMemory: 20_000 }, async (r) => {
      expect(() => r.reader.admit!(castTensor(stored(), "f16"))).toThrowError(
        expect.objectContaining({ code: "TENSOR_TOO_LARGE" }),
      );
      r.reader.admit!(castTensor(f32Tensor([1, 2]), "f16"));
      r.reader.admit!(stored());
      expect(r.stats.evaluations).toBe(0);
    });
  });

  test("work that fits runs, never beyond the limit at once", async () => {
    const one = peakBytes(castTensor(stored(), "f16"));
    await using({ workers: 2, maxMemory: Math.floor(one * 1.5) }, async (r) => {
      const results = await Promise.all([0, 1, 2, 3].map(() => r.reader.read(castTensor(stored(), "f16"))));
      for (const b of results) expect(b).toEqual(results[0]);
      expect(r.stats.peakBytes).toBe(one);
    });
  });

  test("admits in order and frees what failed", async () => {
    const budget = byteBudget(10);
    const log: string[] = [];
    const task = (name: string, bytes: number, fails = false): Promise<void> =>
      budget.run(bytes, async () => {
        log.push(`+${name}`);
        await new Promise((r) => setImmediate(r));
        log.push(`-${name}`);
        if (fails) throw new Error(name);
      });
    const all = [task("a", 6), task("b", 6, true), task("c", 4), task("d", 1)];
    const settled = await Promise.allSettled(all);
    expect(settled.map((s) => s.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    // d would fit beside a, but must not overtake b: large tensors would starve otherwise.
    expect(log).toEqual(["+a", "-a", "+b", "+c", "-b", "+d", "-c", "-d"]);
    expect(budget.peak).toBe(10);
  });
});

describe("hashes", () => {
  test("bytes decide, wherever they lie", async () => {
    await using({ workers: 0 }, async (r) => {
      const inline = f32Tensor(weights(64 * 48), [64, 48]);
      expect(await r.hash(inline)).toBe(await r.hash(stored()));
      expect(await r.hash(castTensor(inline, "f16"))).toBe(await r.hash(castTensor(stored(), "f16")));
      expect(await r.hash(inline)).not.toBe(await r.hash(castTensor(inline, "f16")));
    });
  });

  test("a file is hashed again when it has changed", async () => {
    const path = join(folder, "changing");
    await writeFile(path, new Uint8Array(8));
    const t: Tensor = { dtype: "f32", dims: [2], source: { kind: "file", path, offset: 0, length: 8 } };
    await using({ workers: 0 }, async (r) => {
      const before = await r.hash(t);
      expect(await r.hash(t)).toBe(before);
      const handle = await open(path, "r+");
      await handle.write(Uint8Array.of(1), 0, 1, 0);
      await handle.utimes(1e9, 1e9);
      await handle.close();
      expect(await r.hash(t)).not.toBe(before);
    });
  });

  test("canonical JSON does not depend on key order and tells values apart", () => {
    expect(canonicalJson({ b: [1, null], a: "x" })).toBe('{"a":"x","b":[1,null]}');
    expect(canonicalJson({ a: "x", b: [1, null] })).toBe(canonicalJson({ b: [1, null], a: "x" }));
    expect(canonicalJson(-0)).not.toBe(canonicalJson(0));
  });
});
